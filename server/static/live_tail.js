// LiveTail: the newest readings of a zone, from the history and from the stream: each of them once.

/** Readings of the same moment that differ are two readings. */
function identity({ timestamp, temp_tenths, sensor_ok, cool_active, heat_active }) {
  return [timestamp, temp_tenths, sensor_ok, cool_active, heat_active].join(" ");
}

const READINGS_MAX = 20_000;

export class LiveTail {
  #readings = [];
  #known = new Set();
  #from = -Infinity; // readings before this are in the chart's buckets

  /** Oldest first. */
  get readings() {
    return this.#readings;
  }

  get length() {
    return this.#readings.length;
  }

  /** Whether a reading of this time belongs here, and not into the buckets before. */
  covers(time) {
    return time >= this.#from;
  }

  /** Start again: the buckets go to `from`, and the history has these readings from there on. The
   * stream's readings stay: they may be newer than the answer. */
  begin(from, history) {
    const live = this.#readings;
    this.#from = from;
    this.#readings = [];
    this.#known.clear();
    for (const reading of [...history, ...live]) this.add(reading);
  }

  /** Take a reading; false if it is known, or older than the tail. */
  add(reading) {
    const key = identity(reading);
    if (this.#known.has(key) || !this.covers(reading.timestamp)) return false;
    this.#known.add(key);
    let at = this.#readings.length;
    while (at > 0 && this.#readings[at - 1].timestamp > reading.timestamp) at -= 1;
    this.#readings.splice(at, 0, reading);
    if (this.#readings.length > READINGS_MAX) this.#known.delete(identity(this.#readings.shift()));
    return true;
  }
}
