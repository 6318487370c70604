// ZoneTrack: what the chart knows of one zone, from the history and from the stream.

import { bandAt } from "./chart_rows.js";
import { drawn, past, setpoints } from "./chart_source.js";
import { LiveTail } from "./live_tail.js";

const REFRESH_MIN_MS = 60_000;
const REFRESH_MAX_MS = 600_000;

export class ZoneTrack {
  #getJson;
  #past = null;
  #tail = new LiveTail();
  #changes = [];
  #loadedAt = 0;
  bandLoaded = Promise.resolve();
  #isBehind = false; // whether a reading came that belongs into the buckets

  constructor(deviceId, getJson) {
    this.deviceId = deviceId;
    this.#getJson = getJson;
  }

  get loaded() {
    return this.#past !== null;
  }

  /** Whether the history should be read again, for buckets of what is single readings now. */
  isDue(span, now) {
    if (this.#past === null) return false;
    if (this.#isBehind && now - this.#loadedAt > REFRESH_MIN_MS / 10) return true;
    const often = Math.min(Math.max(span.length / 20, REFRESH_MIN_MS), REFRESH_MAX_MS);
    return span.follows && now - this.#loadedAt > often;
  }

  /**
   * Load a span; false if `isStale()` says by then that another one is wanted. The setpoints of a
   * long span take longer: `bandLoaded` resolves when they are there. Raises NotLoaded.
   */
  async load(span, now, points, isStale) {
    const changes = setpoints(this.#getJson, this.deviceId, span);
    this.bandLoaded = changes.then(
      (found) => {
        if (!isStale()) this.#changes = found;
      },
      () => {}, // the chart then has the band that it had
    );
    const found = await past(this.#getJson, this.deviceId, span, now, points);
    if (isStale()) return false;
    this.#past = found;
    this.#tail.begin(found.cut, found.readings);
    this.#loadedAt = now;
    this.#isBehind = false;
    return true;
  }

  /** Take an event of the stream; whether the chart changes. */
  take(name, data) {
    if (data.device_id !== this.deviceId) return false;
    if (name === "setpoint") this.#setpoint(data.timestamp, data);
    if (name === "setpoint") return true;
    if (name !== "telemetry") return false;
    if (!this.#tail.covers(data.timestamp)) {
      this.#isBehind = true;
      return false;
    }
    this.#setpoint(data.timestamp, data);
    return this.#tail.add(data);
  }

  #setpoint(t, { setpoint_tenths: setpoint, deadband_tenths: deadband }) {
    const last = this.#changes.at(-1);
    if (last && (t < last.t || (last.setpoint === setpoint && last.deadband === deadband))) return;
    this.#changes.push({ t, setpoint, deadband });
  }

  /** The rows and bars to draw now. */
  drawn(now) {
    return drawn(this.#past ?? { parts: [] }, this.#tail.readings, now);
  }

  /** The setpoint and its upper end at these times. */
  band(times) {
    return bandAt(times, this.#changes);
  }
}
