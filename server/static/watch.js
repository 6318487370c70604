// Watch: the server's clock, and whether the server would report a silent zone now.

import { stopwatch } from "./units.js";

/** After this time without an event the values on the page are stale. */
export const STALE_MS = 10_000;

export class Watch {
  #clock = { ts: Date.now(), at: performance.now() };
  #sendsTrust = true;
  #live = false;
  #notLive = () => Infinity; // a stopwatch since the stream was live last

  /** The server's time, continued by a clock that cannot be set. */
  get now() {
    return this.#clock.ts + performance.now() - this.#clock.at;
  }

  get sendsTrust() {
    return this.#sendsTrust;
  }

  setClock(ts) {
    this.#clock = { ts, at: performance.now() };
  }

  /** An older server sends no trust in its snapshot, and never reports a silent zone. */
  readSnapshot(statuses) {
    this.#sendsTrust = statuses.every((status) => status.trust !== undefined);
  }

  setLive(live) {
    if (this.#live && !live) this.#notLive = stopwatch();
    this.#live = live;
  }

  /** Whether the page would have got an event about a zone that became silent. */
  get counts() {
    return this.#sendsTrust && (this.#live || this.#notLive() <= STALE_MS);
  }
}
