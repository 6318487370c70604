// The log-in page.

import { errorWords, getJson, postJson } from "./api.js";
import { waitWords } from "./units.js";

const REASONS = new Map([
  ["ended", "Your session has ended. Please log in again."],
  ["locked", "This account is locked for now."],
  ["out", "You are logged out."],
]);

const query = new URLSearchParams(location.search);
const form = document.getElementById("login");
const error = document.getElementById("error");
const notice = document.getElementById("notice");
const password = form.elements.namedItem("password");
const button = form.querySelector("button");

/** Where to go after log-in: a page of this site, whatever the address asks for. */
function destination() {
  const asked = query.get("next") ?? "/";
  try {
    const url = new URL(asked, location.origin);
    const own = url.origin === location.origin && asked.startsWith("/");
    // The whole address, since a path such as //host alone would name another site.
    if (own && url.pathname !== location.pathname) return url.href;
  } catch {
    // not an address at all
  }
  return new URL("/", location.origin).href;
}

function words(answer) {
  const wait = answer.retryAfter ? ` Try again in ${waitWords(answer.retryAfter)}.` : "";
  if (answer.status === 401) return "Wrong user name or password.";
  if (answer.status === 423) return `This account is locked after too many failed attempts.${wait}`;
  if (answer.status === 429) return `Too many failed attempts from your address.${wait}`;
  if (answer.body.code === "AUTH_DISABLED") return "Log-in is switched off on this server.";
  return errorWords(answer);
}

async function logIn(event) {
  event.preventDefault();
  if (button.disabled) return;
  error.textContent = "";
  notice.textContent = "";
  button.disabled = true;
  const answer = await postJson("/auth/login", {
    username: form.elements.namedItem("username").value,
    password: password.value,
  });
  if (answer.status === 200) {
    location.replace(destination());
    return;
  }
  button.disabled = false;
  error.textContent = words(answer);
  password.value = "";
  password.focus();
}

form.addEventListener("submit", logIn);
button.disabled = false;
notice.textContent = REASONS.get(query.get("reason")) ?? "";

const health = await getJson("/api/health");
if (health.body.services?.auth === false) location.replace(destination());
