// The page's live stream and session: what every page behind the log-in shares.
//
// A page's script calls subscribe(); the stream starts once all scripts of the page have run. The
// handlers of a page are called in the order in which they subscribed. All pages of this browser and
// session share one stream: browsers make six connections to a server at most, over plain HTTP.

import { Alarms } from "./alarms.js";
import { askSession, goToLogin } from "./api.js";
import { Connection } from "./connection.js";
import { askedBefore } from "./head_start.js";
import { preference } from "./preferences.js";
import { eachZone } from "./zone_names.js";
import { Zones } from "./zones.js";

const RETRY_MS = 2000;
const CHANGES = ["telemetry", "setpoint", "zone", "settings", "deleted"];
const STATES = ["hello", "heartbeat", "snapshot"];
const LAST_ID = "bas.last-id";

/** The zones as the stream shows them; they are up to date when a handler is called. */
export const zones = new Zones();
/** The open alarms, likewise. */
export const alarms = new Alarms();

const handlers = new Set();
let connection = null;
let authOn = true;
let begun = false;
let wasLive = false; // whether the page took part in the stream when it was left
let key = ""; // which session the stream is of

/**
 * Take part in the page's stream; returns a function that ends this. The handler may have
 *
 * - `onEvent(name, data, changed)`: an event of the stream; `changed` is the id of the zone that it
 *   changed, or null,
 * - `onNames()`: the names and locations of zones have come,
 * - `onState(state, lastContact, reason)`: the connection, with the values of stream.js,
 * - `onSession({user, kind, authOn})`: who is logged in, at the start and whenever it was asked.
 */
export function subscribe(handler) {
  handlers.add(handler);
  if (!begun) setTimeout(begin);
  begun = true;
  return () => handlers.delete(handler);
}

/** Leave the stream, as before a log-out; `resume` joins it again. */
export function pause() {
  connection?.close();
  connection = null;
}

export function resume() {
  join("");
}

function notify(method, ...values) {
  for (const handler of handlers) handler[method]?.(...values);
}

function receive(name, data) {
  let changed = null;
  if (STATES.includes(name)) zones[name](data);
  if (STATES.includes(name)) alarms[name](data);
  if (name === "alarm" && alarms.alarm(data)) changed = zones.alarm(data);
  if (CHANGES.includes(name)) changed = zones[name](data);
  notify("onEvent", name, data, changed);
  if (name === "snapshot") loadNames();
}

/** Ask for the names and locations that people gave; events notify of later changes. */
async function loadNames() {
  await eachZone((zone) => zones.settings(zone));
  notify("onNames");
}

function enter(state, lastContact, reason = "") {
  zones.setLive(state === "live");
  // By the server's clock, as all times on the page.
  notify("onState", state, lastContact && zones.now - (Date.now() - lastContact), reason);
  if (state === "logged-out") goToLogin("ended");
}

/**
 * The same for all pages of a session, and for no other session: login.js notes each log-in. The
 * server's time of the log-in does not do: it may differ by a millisecond from answer to answer.
 */
function keyOf({ user }) {
  return `bas ${user.username} ${user.role} ${preference("login")}`;
}

/** Take a message of the hub that holds the stream. */
function take({ events, state, lastContact, reason, session }) {
  if (connection === null) return; // the page was left since
  for (const [name, text] of events ?? []) receive(name, JSON.parse(text));
  if (state !== undefined && state !== "connecting") enter(state, lastContact, reason);
  if (session?.user) {
    // Another account logged in: what is on the page may not be for it.
    if (keyOf(session) !== key) location.reload();
    else notify("onSession", { ...session, authOn });
  }
}

/** The id of the last event before the page was left or loaded again. */
function remembered() {
  try {
    const [of, id] = JSON.parse(sessionStorage.getItem(LAST_ID) ?? "[]");
    return of === key ? id : "";
  } catch {
    return "";
  }
}

function remember() {
  try {
    sessionStorage.setItem(LAST_ID, JSON.stringify([key, connection.lastId]));
  } catch {
    // Then the server begins with a snapshot.
  }
}

function join(lastId) {
  pause();
  // The modules of another version have another address, and a hub of their own.
  connection = new Connection(`${key} ${import.meta.url}`, lastId, take);
}

async function begin() {
  const [health, session] = await askedBefore();
  if (session.out) {
    goToLogin(session.status === 400 ? "" : session.status === 423 ? "locked" : "ended");
  } else if (health.status !== 200 || !session.user) {
    enter("lost", 0);
    setTimeout(begin, RETRY_MS * (1 + Math.random()));
  } else {
    authOn = health.body.services?.auth !== false;
    start(session);
  }
}

function start(session) {
  key = keyOf(session);
  notify("onSession", { ...session, authOn });
  join(remembered());
}

/** The page comes back from the back/forward cache; its session may be over, or another one. */
async function comeBack() {
  enter("lost", 0);
  const session = await askSession();
  if (session.out) goToLogin("ended");
  else if (session.user) start(session);
  else setTimeout(comeBack, RETRY_MS * (1 + Math.random()));
}

// A browser keeps a page that was left, with its connections: it must hold none.
addEventListener("pagehide", () => {
  wasLive = connection !== null;
  if (!wasLive) return;
  remember();
  pause();
});
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  // A page that was left before its stream began, or after a log-out, starts again.
  if (!wasLive) location.reload();
  else comeBack();
});
