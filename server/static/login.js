// The log-in page: sends user name and password, and opens the page that the user wanted.

import { askSession, errorWords, getJson, postJson } from "./api.js";
import { prefer } from "./preferences.js";
import { below } from "./root.js";
import { waitWords } from "./units.js";

const REASONS = new Map([
  ["ended", "Your session has ended. Please log in again."],
  ["locked", "This account is locked for now."],
  ["out", "You are logged out."],
]);

// The server does not see why a browser keeps no cookie, so the page names the usual causes.
const NOT_KEPT =
  "The password is right, but this browser kept no session. Either it blocks the cookies of this" +
  " site, or they are for https only, because of an earlier log-in with https or of" +
  " BAS_COOKIE_SECURE=always: then open this page with https.";

const query = new URLSearchParams(location.search);
const form = document.getElementById("login");
const error = document.getElementById("error");
const notice = document.getElementById("notice");
const password = form.elements.namedItem("password");
const button = form.querySelector("button");

/** The page to open after log-in; it is always on this site, even if `next` names another. */
function destination() {
  const asked = query.get("next") ?? below("/");
  try {
    const url = new URL(asked, location.origin);
    const own = url.origin === location.origin && asked.startsWith("/");
    // Return the whole address: a path such as //host alone would name another site.
    if (own && url.pathname !== location.pathname) return url.href;
  } catch {
    // `next` is no address
  }
  return new URL(below("/"), location.origin).href;
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
    const session = await askSession();
    if (!session.out) {
      prefer("login", `${Date.now()} ${Math.random()}`); // for live.js
      location.replace(destination());
      return;
    }
    error.textContent = NOT_KEPT;
  } else {
    error.textContent = words(answer);
  }
  button.disabled = false;
  password.value = "";
  password.focus();
}

form.addEventListener("submit", logIn);
button.disabled = false;
notice.textContent = REASONS.get(query.get("reason")) ?? "";

const health = await getJson("/api/health");
if (health.body.services?.auth === false) location.replace(destination());
