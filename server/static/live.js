// The page's live stream and session: what every page behind the log-in shares.
//
// A page's script calls subscribe(); the stream starts once all scripts of the page have run. The
// handlers of a page are called in the order in which they subscribed.

import { askSession, getJson, goToLogin } from "./api.js";
import { LiveStream } from "./stream.js";
import { Zones } from "./zones.js";

const RETRY_MS = 2000;

/** The zones as the stream shows them; they are up to date when a handler is called. */
export const zones = new Zones();

const handlers = new Set();
let authOn = true;
let begun = false;

/**
 * Take part in the page's stream; returns a function that ends this. The handler may have
 *
 * - `onEvent(name, data, changed)`: an event of the stream; `changed` is the id of the zone that it
 *   changed, or null,
 * - `onState(state, lastContact)`: the connection, with the states and the time of stream.js,
 * - `onSession({user, kind, authOn})`: who is logged in, at the start and whenever it was asked.
 */
export function subscribe(handler) {
  handlers.add(handler);
  if (!begun) setTimeout(begin);
  begun = true;
  return () => handlers.delete(handler);
}

/** Close the stream, as before a log-out; `resume` opens it again. */
export function pause() {
  stream.stop();
}

export function resume() {
  stream.start();
}

function tell(method, ...values) {
  for (const handler of handlers) handler[method]?.(...values);
}

function take(name, data) {
  let changed = null;
  if (["hello", "heartbeat", "snapshot"].includes(name)) zones[name](data);
  if (["telemetry", "setpoint", "zone"].includes(name)) changed = zones[name](data);
  tell("onEvent", name, data, changed);
}

function enter(state, lastContact) {
  zones.setLive(state === "live");
  tell("onState", state, lastContact);
  if (state === "logged-out") goToLogin("ended");
}

/** Ask for the user again and tell the handlers: the role may have changed. */
async function session() {
  const answer = await askSession();
  if (answer.user) tell("onSession", { ...answer, authOn });
  return answer;
}

const stream = new LiveStream("/api/sse/telemetry", {
  onEvent: take,
  onState: enter,
  askSession: session,
});

async function begin() {
  const [health, answer] = await Promise.all([getJson("/api/health"), askSession()]);
  if (answer.out) {
    goToLogin(answer.status === 400 ? "" : answer.status === 423 ? "locked" : "ended");
  } else if (health.status !== 200 || !answer.user) {
    enter("lost", 0);
    setTimeout(begin, RETRY_MS * (1 + Math.random()));
  } else {
    authOn = health.body.services?.auth !== false;
    tell("onSession", { ...answer, authOn });
    stream.start();
  }
}

// A page from the browser's back/forward cache continues, unless its stream had been stopped.
addEventListener("pageshow", (event) => {
  if (event.persisted && !stream.started) location.reload();
});
