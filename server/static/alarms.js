// Keeps the open alarms from the stream's events; it has no page elements.

import { stopwatch } from "./units.js";

// Longer than any replay takes.
const CATCH_UP_MS = 30_000;
const OPEN = new Set(["pending", "active", "acknowledged"]);

export function isOpen(alarm) {
  return OPEN.has(alarm.state);
}

/** Whether an alarm's condition is there and its delay is over. */
export function isActive({ state }) {
  return state === "active" || state === "acknowledged";
}

/** Whether an alarm sends no notices at this moment (Unix ms). */
export function isShelved(alarm, now) {
  return (alarm.shelved_until ?? 0) > now;
}

/** Whether an alarm still asks for somebody: it is active, not acknowledged and not shelved. */
export function isUnseen(alarm, now) {
  return alarm.state === "active" && !isShelved(alarm, now);
}

/** The open alarms of the site, as API answers have them. A snapshot has the newest 1,000 only. */
export class Alarms {
  #open = new Map();
  #helloTs = 0;
  #replay = null; // a stopwatch while events from before the snapshot may be replayed
  #more = 0;

  /** How many open alarms there are beyond these. */
  get more() {
    return this.#more;
  }

  get size() {
    return this.#open.size;
  }

  get(id) {
    return this.#open.get(id);
  }

  [Symbol.iterator]() {
    return this.#open.values();
  }

  hello({ resume, ts }) {
    this.#helloTs = ts;
    this.#replay = resume === "recovered" ? stopwatch() : null;
  }

  heartbeat() {
    this.#replay = null; // a heartbeat follows a silence, so the replay is over
  }

  snapshot({ alarms = [], alarm_count: count = alarms.length }) {
    this.#open = new Map(alarms.map((alarm) => [alarm.id, alarm]));
    this.#more = Math.max(0, count - alarms.length);
  }

  /** Take an event, or an alarm of an answer; false if it says nothing new. */
  alarm({ step: _, ...alarm }) {
    const known = this.#open.get(alarm.id);
    if (known === undefined && this.#isReplayed(alarm)) return false;
    if (known !== undefined && known.changed > alarm.changed) return false;
    if (isOpen(alarm)) {
      this.#open.set(alarm.id, alarm);
    } else if (!this.#open.delete(alarm.id)) {
      this.#more = Math.max(0, this.#more - 1);
    }
    return true;
  }

  /** Take open alarms beyond those of the snapshot; `isAll` says that there are no others. */
  add(found, isAll) {
    for (const alarm of found) {
      if (this.#open.has(alarm.id)) continue;
      this.#open.set(alarm.id, alarm);
      this.#more = Math.max(0, this.#more - 1);
    }
    if (isAll) this.#more = 0;
  }

  /** Those that ask for somebody at this moment. */
  unseen(now) {
    return [...this].filter((alarm) => isUnseen(alarm, now));
  }

  /** What a page that joins the stream later gets. */
  status() {
    return { alarms: [...this], alarm_count: this.size + this.#more };
  }

  /** Whether the snapshot, in which the alarm is not open, is newer than this. */
  #isReplayed(alarm) {
    const replaying = this.#replay !== null && this.#replay() < CATCH_UP_MS;
    return replaying && alarm.changed <= this.#helloTs;
  }
}
