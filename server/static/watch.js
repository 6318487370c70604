// What the page knows of the server itself: its clock, and whether it watches the zones just now.

import { stopwatch } from "./units.js";

/** So much time without news makes what the page shows stale. */
export const STALE_MS = 10_000;

export class Watch {
  #clock = { ts: Date.now(), at: performance.now() };
  #tellsTrust = true;
  #live = false;
  #notLive = () => Infinity; // a stopwatch since the stream was live last

  /** The server's clock, carried on by one that nobody can set. */
  get now() {
    return this.#clock.ts + performance.now() - this.#clock.at;
  }

  setClock(ts) {
    this.#clock = { ts, at: performance.now() };
  }

  /** An older server has no trust in its snapshot, and never says that a zone is silent. */
  readSnapshot(statuses) {
    this.#tellsTrust = statuses.every((status) => status.trust !== undefined);
  }

  setLive(live) {
    if (this.#live && !live) this.#notLive = stopwatch();
    this.#live = live;
  }

  /** Whether the server would have told of a zone that fell silent. */
  get counts() {
    return this.#tellsTrust && (this.#live || this.#notLive() <= STALE_MS);
  }
}
