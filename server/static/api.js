// Requests to the server, and the way to the log-in page.

import { isPersonHere } from "./activity.js";
import { below } from "./root.js";

const TIMEOUT_MS = 10_000;
// The session is missing, ended or locked, and the user must log in again.
const LOGGED_OUT = new Set([400, 401, 423]);

/** Resolves to {status, body, retryAfter (s)}, with status 0 if no answer came; never rejects. */
async function request(path, options = {}, timeoutMs = TIMEOUT_MS) {
  const signal = AbortSignal.timeout(timeoutMs);
  try {
    const headers = { ...options.headers };
    // Only what a person does keeps the session; what the page does by itself does not.
    if (isPersonHere()) headers["X-User-Active"] = "1";
    const answer = await fetch(below(path), { cache: "no-store", signal, ...options, headers });
    const text = await answer.text();
    const retryAfter = Number(answer.headers.get("Retry-After")) || 0;
    return { status: answer.status, body: parsed(text), retryAfter };
  } catch {
    return { status: 0, body: {}, retryAfter: 0 };
  }
}

function parsed(text) {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {}; // a proxy's error page
  }
}

export function getJson(path, timeoutMs) {
  return request(path, {}, timeoutMs);
}

export function postJson(path, body) {
  return sendJson("POST", path, body);
}

/** A request with another method; without a body if it is undefined. */
export function sendJson(method, path, body, timeoutMs) {
  if (body === undefined) return request(path, { method }, timeoutMs);
  const headers = { "Content-Type": "application/json" };
  return request(path, { method, headers, body: JSON.stringify(body) }, timeoutMs);
}

/** Why the server refuses a stream, as errorWords() takes it; null if it does not. Never rejects. */
export async function getReason(url) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), TIMEOUT_MS);
  try {
    const answer = await fetch(url, { cache: "no-store", signal: stop.signal });
    if (answer.ok) return null;
    const retryAfter = Number(answer.headers.get("Retry-After")) || 0;
    return { status: answer.status, body: parsed(await answer.text()), retryAfter };
  } catch {
    return null;
  } finally {
    clearTimeout(timer);
    stop.abort();
  }
}

/**
 * Resolves to {user, kind}, or {out: true, status} without a session, or {} if the server fails.
 * The kind is "session", or "display" for a wall screen.
 */
export async function askSession() {
  const { status, body } = await getJson("/auth/status", 5000);
  if (status === 200 && body.user) return { user: body.user, kind: body.kind };
  return LOGGED_OUT.has(status) ? { out: true, status } : {};
}

/** An error answer in general words, where the caller has no better ones. */
export function errorWords({ status, body, retryAfter }) {
  if (status === 0) return "The server does not answer. Please try again.";
  if (status === 403) return "Your account may not do this.";
  if (status >= 500) {
    return `The server cannot do this now. Please try again${retryAfter ? ` in ${retryAfter} s` : ""}.`;
  }
  return [body.error ?? `The server answered ${status}`, body.message].filter(Boolean).join(": ");
}

/** Open the log-in page, which leads back here. `reason` is one that login.js knows. */
export function goToLogin(reason) {
  const query = new URLSearchParams({ next: location.pathname + location.search });
  if (reason) query.set("reason", reason);
  location.replace(below(`/auth/login?${query}`));
}
