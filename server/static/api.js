// Requests to the server, and the way to the log-in page.

const TIMEOUT_MS = 10_000;
// A session that is missing, ended or locked: only a new log-in helps.
const LOGGED_OUT = new Set([400, 401, 423]);

/** The answer as {status, body, retryAfter (s)}; status 0 if none came. It never rejects. */
async function request(path, options = {}, timeoutMs = TIMEOUT_MS) {
  const signal = AbortSignal.timeout(timeoutMs);
  try {
    const answer = await fetch(path, { cache: "no-store", signal, ...options });
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
  return request(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
}

/** Who is logged in: {user}, or {out: true, status}, or {} while the server does not tell. */
export async function askSession() {
  const { status, body } = await getJson("/auth/status", 5000);
  if (status === 200 && body.user) return { user: body.user };
  return LOGGED_OUT.has(status) ? { out: true, status } : {};
}

/** An error answer in words, for what has no better ones of its own. */
export function errorWords({ status, body, retryAfter }) {
  if (status === 0) return "The server does not answer. Please try again.";
  if (status === 403) return "Your account may not do this.";
  if (status >= 500) {
    return `The server cannot do this now. Please try again${retryAfter ? ` in ${retryAfter} s` : ""}.`;
  }
  return [body.error ?? `The server answered ${status}`, body.message].filter(Boolean).join(": ");
}

/** Leave for the log-in page, which leads back here. `reason` is one that login.js knows. */
export function goToLogin(reason) {
  const query = new URLSearchParams({ next: location.pathname + location.search });
  if (reason) query.set("reason", reason);
  location.replace(`/auth/login?${query}`);
}
