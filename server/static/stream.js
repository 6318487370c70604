// The live stream: an EventSource, with the parts that an EventSource lacks.
//
// After a broken connection the browser reconnects with the last event id, and waits for the
// `retry` that the server sent (also in `bye`): this code leaves that to the browser. But an
// EventSource stops for good at any answer but 200 and does not show the cause, and it does not
// notice a connection that is silently dead.

import { errorWords, getReason } from "./api.js";
import { stopwatch } from "./units.js";

const NAMES = [
  "hello",
  "snapshot",
  "telemetry",
  "setpoint",
  "zone",
  "settings",
  "alarm",
  "deleted",
  "heartbeat",
  "session",
  "bye",
];
const SLACK_MS = 4000; // beyond the server's heartbeat
const CONNECT_MAX_MS = 30_000; // longer than the browser waits between two of its attempts
const AFTER_BYE_MAX_MS = 120_000; // a busy server spreads its clients over a longer time
const BACKOFF_MIN_MS = 1000;
const BACKOFF_MAX_MS = 30_000;
const WATCH_MS = 1000;

/**
 * Calls `onEvent(name, data, text)` for every event, in order, and `onState(state, lastContact,
 * reason)`. The state is "connecting", "live", "lost", "silent", "restarting" or "logged-out";
 * `lastContact` is the time of the last event (Unix ms of this machine; 0: none yet), `reason` says
 * why the server refuses the stream, or is "". `askSession` is the function of api.js, or one like it;
 * `lastId` is the id of the last event that was seen.
 */
export class LiveStream {
  #path;
  #onEvent;
  #onState;
  #askSession;
  #source = null;
  #state = "connecting";
  #reason = "";
  #lastId;
  #lastContact = 0;
  #heartbeatMs = 20_000;
  #failures = 0;
  #bye = false;
  #ended = false; // whether this connection failed since its hello
  #quiet = stopwatch();
  #timer = 0;
  #watch = 0;
  #round = 0; // counts starts and ends of attempts, so that answers to older ones are ignored

  constructor(path, { onEvent, onState, askSession, lastId = "" }) {
    this.#path = path;
    this.#lastId = lastId;
    this.#onEvent = onEvent;
    this.#onState = onState;
    this.#askSession = askSession;
  }

  /** Whether the stream is started, connected or not. */
  get started() {
    return this.#watch !== 0;
  }

  get lastId() {
    return this.#lastId;
  }

  start() {
    this.#watch ||= setInterval(() => this.#look(), WATCH_MS);
    this.#open();
  }

  stop() {
    clearInterval(this.#watch);
    this.#watch = 0;
    this.#close();
    this.#state = "connecting";
  }

  #open() {
    this.#close();
    const source = new EventSource(this.#path + this.#query());
    this.#source = source;
    this.#quiet = stopwatch();
    for (const name of NAMES) {
      source.addEventListener(name, (event) => {
        if (source === this.#source) this.#receive(name, event);
      });
    }
    source.addEventListener("error", () => {
      if (source === this.#source) this.#failed(source);
    });
  }

  #close() {
    this.#round += 1;
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
    this.#bye = this.#ended = false;
  }

  #receive(name, event) {
    this.#quiet = stopwatch();
    this.#lastContact = Date.now();
    const data = JSON.parse(event.data);
    if (name === "hello") {
      this.#heartbeatMs = data.heartbeat_s * 1000;
      this.#failures = 0;
      this.#bye = this.#ended = false;
    }
    if (name === "bye") {
      this.#bye = true;
      this.#enter("restarting");
    }
    this.#onEvent(name, data, event.data);
    // Store the id only now: if showing the event fails, the server must send it again.
    this.#lastId = event.lastEventId || this.#lastId;
    if (name === "snapshot") this.#enter("live");
  }

  #failed(source) {
    this.#quiet = stopwatch();
    const first = this.#state === "live";
    // After `bye` the first error is the announced end; a second one: the server is not back yet.
    if (this.#bye && this.#ended) this.#bye = false;
    this.#ended = true;
    if (this.#state !== "silent" && !this.#bye) this.#enter("lost");
    if (source.readyState === EventSource.CLOSED) {
      this.#close();
      this.#retry();
    } else if (first) {
      // The browser will reconnect; but if the session has ended, show that at once.
      this.#endIfLoggedOut();
    }
  }

  /** Resolves to true if the session is live and no later attempt has replaced this one. */
  async #endIfLoggedOut() {
    const round = this.#round;
    const session = await this.#askSession();
    if (round !== this.#round) return false;
    if (!session.out) return true;
    this.stop();
    this.#enter("logged-out");
    return false;
  }

  async #retry() {
    this.#failures += 1;
    const most = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(this.#failures, 10));
    const wait = most / 2 + (Math.random() * most) / 2;
    if (!(await this.#endIfLoggedOut())) return;
    this.#timer = setTimeout(() => this.#open(), wait);
    const round = this.#round;
    const answer = await getReason(this.#path + this.#query());
    if (round === this.#round && answer) this.#enter(this.#state, errorWords(answer));
  }

  #query() {
    return this.#lastId ? `?last_event_id=${encodeURIComponent(this.#lastId)}` : "";
  }

  #look() {
    if (this.#source === null) return;
    const open = this.#source.readyState === EventSource.OPEN;
    const connectMax = this.#bye ? AFTER_BYE_MAX_MS : CONNECT_MAX_MS;
    if (this.#quiet() <= (open ? this.#heartbeatMs + SLACK_MS : connectMax)) return;
    this.#enter("silent");
    this.#close();
    this.#retry();
  }

  #enter(state, reason = "") {
    if (state === this.#state && reason === this.#reason) return;
    this.#state = state;
    this.#reason = reason;
    this.#onState(state, this.#lastContact, reason);
  }
}
