// The live connection: an EventSource, and around it what an EventSource cannot do.
//
// The browser reconnects by itself after a broken connection, with its last id and after the
// `retry` it was told (also the one in `bye`): that is left to it. It gives up for good on any
// answer but 200, it cannot see why, and it does not notice a connection that is silently dead.
// Nor does it end when its page is left: Chromium keeps the page in its memory with the stream open,
// and six of them take all the connections that it makes to one server.

import { stopwatch } from "./units.js";

const NAMES = ["hello", "snapshot", "telemetry", "setpoint", "zone", "heartbeat", "bye"];
const SLACK_MS = 4000; // beyond the server's heartbeat
const CONNECT_MAX_MS = 30_000; // longer than the browser waits between two attempts of its own
const AFTER_BYE_MAX_MS = 120_000; // a busy server spreads its clients over a longer time
const BACKOFF_MIN_MS = 1000;
const BACKOFF_MAX_MS = 30_000;
const WATCH_MS = 1000;

/**
 * Calls `onEvent(name, data)` for every event, in order, and `onState(state, lastContact)` with
 * "connecting", "live", "lost", "silent", "restarting" or "logged-out", and when the server was
 * last heard (Unix ms here; 0: never). `askSession` is api.js's, or a function like it.
 */
export class LiveStream {
  #path;
  #onEvent;
  #onState;
  #askSession;
  #source = null;
  #state = "connecting";
  #lastId = "";
  #lastContact = 0;
  #heartbeatMs = 20_000;
  #failures = 0;
  #bye = false;
  #ended = false; // this connection, after its hello
  #quiet = stopwatch();
  #timer = 0;
  #watch = 0;
  #round = 0; // grows with every start and end of an attempt: an answer to an older one is void

  constructor(path, { onEvent, onState, askSession }) {
    this.#path = path;
    this.#onEvent = onEvent;
    this.#onState = onState;
    this.#askSession = askSession;
    document.addEventListener("visibilitychange", () => this.#look());
    addEventListener("pagehide", () => this.#close());
    addEventListener("pageshow", (event) => {
      if (event.persisted) this.#comeBack();
    });
  }

  /** Whether it is started, be it connected or not. */
  get started() {
    return this.#watch !== 0;
  }

  start() {
    this.#watch ||= setInterval(() => this.#look(), WATCH_MS);
    this.#open();
  }

  stop() {
    clearInterval(this.#watch);
    this.#watch = 0;
    this.#close();
  }

  #open() {
    this.#close();
    const query = this.#lastId ? `?last_event_id=${encodeURIComponent(this.#lastId)}` : "";
    const source = new EventSource(this.#path + query);
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

  /** The page was brought back from the browser's memory; its session may be over by now. */
  async #comeBack() {
    if (!this.started) return;
    this.#enter("lost");
    if (await this.#endIfLoggedOut()) this.#open();
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
    this.#onEvent(name, data);
    // Only now is the event safe: a place is remembered when what led there was shown.
    this.#lastId = event.lastEventId || this.#lastId;
    if (name === "snapshot") this.#enter("live");
  }

  #failed(source) {
    this.#quiet = stopwatch();
    const first = this.#state === "live";
    // After `bye` the first error is the announced end; a second one is a server that is not back.
    if (this.#bye && this.#ended) this.#bye = false;
    this.#ended = true;
    if (this.#state !== "silent" && !this.#bye) this.#enter("lost");
    if (source.readyState === EventSource.CLOSED) {
      this.#close();
      this.#retry();
    } else if (first) {
      // The browser will reconnect; but if it was the session that ended, say so at once.
      this.#endIfLoggedOut();
    }
  }

  /** Resolves to true if this attempt is still the one that counts, and the session lives. */
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
    if (await this.#endIfLoggedOut()) this.#timer = setTimeout(() => this.#open(), wait);
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

  #enter(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.#onState(state, this.#lastContact);
  }
}
