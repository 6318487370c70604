// One zone: the values of its newest present reading, its relays, its trust and its settings.
//
// Temperatures are tenths of °C, times Unix milliseconds of the server. A reading's `timestamp` is
// the device's date, which may be wrong by hours: age and order depend on the time of receipt.

import { isActive, isShelved } from "./alarms.js";
import { stopwatch } from "./units.js";
import { STALE_MS } from "./watch.js";

// If the server reports no silence: three periods of a device that posts every 20 minutes.
const SILENT_MS = 3_600_000;
// The shortest time for which a cooler is on or off.
const MIN_TIME_MS = 10_000;

// Alarms of conditions that no trust shows, the worst first.
const ALARMS = ["high", "low", "short_cycling"];

// The trust of an event that has none.
export const TRUSTED = { state: "ok", since: 0, reason: null };

/** When the server received a reading; it sends that only if it differs from the reading's date. */
export function receipt(reading) {
  return reading.received ?? reading.timestamp;
}

export class Zone {
  deviceId;
  timestamp = 0;
  received = 0;
  temp_tenths = null; // null too for a failed sensor
  sensor_ok = false;
  state = "";
  cool_active = false;
  heat_active = false;
  relays_known = true;
  trust = TRUSTED;
  setpoint_tenths = null; // unknown until the first reading or snapshot
  deadband_tenths = null;
  setBy = null;
  setAt = 0; // readings up to this moment may have the settings from before the change
  catchingUp = null; // a stopwatch while older readings may be replayed
  name = ""; // a person's name for it, and where it is; "" if nobody gave one
  location = "";
  #alarms = new Map(); // its active alarms of ALARMS, by kind
  #held = null; // what the server said that holds a relay: {by, until}
  #switched = 0; // when this page saw the cooler switch, by the server's clock; 0: it did not
  #watch;
  #faultReason = null;
  #ageThen = 0;
  #since = stopwatch();
  #relaysSince = null; // a stopwatch since an event gave the relays without a reading

  constructor(deviceId, watch) {
    this.deviceId = deviceId;
    this.#watch = watch;
  }

  /** What people call the zone. */
  get title() {
    return this.name || this.deviceId;
  }

  /**
   * What holds the cooler against what the temperature wants: {by, until}, with the time (Unix ms of
   * the server) or null; null if nothing does. The server says it in a snapshot. Between snapshots
   * the page knows when it saw the cooler switch.
   */
  get held() {
    const now = this.#watch.now;
    if (this.#held && (this.#held.until === null || this.#held.until > now)) return this.#held;
    if (!this.#switched || this.fault || this.temp_tenths === null) return null;
    const wanted = this.temp_tenths > this.setpoint_tenths + this.deadband_tenths;
    const until = this.#switched + MIN_TIME_MS;
    if (wanted === this.cool_active || until <= now) return null;
    return { by: this.cool_active ? "minimum_on_time" : "minimum_off_time", until };
  }

  /** The worst active alarm of a condition that no trust shows; null if there is none that is not shelved. */
  get alarm() {
    if (this.#alarms.size === 0) return null;
    const found = ALARMS.map((kind) => this.#alarms.get(kind));
    return found.find((alarm) => alarm && !isShelved(alarm, this.#watch.now)) ?? null;
  }

  takeAlarm(alarm) {
    const { id, kind } = alarm;
    if (isActive(alarm) && ALARMS.includes(kind)) this.#alarms.set(kind, alarm);
    else if (this.#alarms.get(kind)?.id === id) this.#alarms.delete(kind);
  }

  forgetAlarms() {
    this.#alarms.clear();
  }

  get hasReading() {
    return this.received > 0;
  }

  /** The age of the last reading: since this page got it, plus its age at that moment. */
  get age() {
    return this.#ageThen + this.#since();
  }

  get stale() {
    return this.hasReading && this.age > this.#patience;
  }

  /**
   * The age at which the last reading is stale. Devices post every second or every ten minutes, and
   * only the server knows each one's period: while the stream is live, the server reports a silent
   * zone, so there is no limit. Stuck, refused and fault hide the silence: an hour. If the stream
   * is not live, or the server sends no trust, or the device's dates are late, so that its posts
   * bring no new values: 10 s.
   */
  get #patience() {
    const { state } = this.trust;
    if (!this.#watch.counts || this.late || state === "never") return STALE_MS;
    return state === "ok" || state === "suspect" ? Infinity : SILENT_MS;
  }

  /** Since when the trust is as now (Unix ms of the server) and for how long; null: unknown. */
  get since() {
    const { since } = this.trust;
    return since > 0 ? { since, ms: this.#watch.now - since } : null;
  }

  /** The reason of a fault that the sensor did not report. */
  get faultReason() {
    return this.#faultReason ?? (this.trust.state === "fault" ? this.trust.reason : null);
  }

  /** Whether a recent event gave the relays without a reading: they are newer than the reading. */
  get relaysNewer() {
    return this.#relaysSince !== null && this.#relaysSince() <= STALE_MS;
  }

  // The state decides, not the reading's sensor_ok: a later event may have changed the relays.
  get fault() {
    return this.state === "FAULT" || this.trust.state === "fault";
  }

  hasTrust({ state, reason }) {
    return this.trust.state === state && this.trust.reason === reason;
  }

  /** Whether the zone's readings do not control because their dates are late. */
  get late() {
    return this.trust.state === "suspect" && this.trust.reason === "late";
  }

  isAt(reading) {
    return (
      this.timestamp === reading.timestamp &&
      this.received === receipt(reading) &&
      this.temp_tenths === (reading.temp_tenths ?? null) &&
      this.sensor_ok === reading.sensor_ok
    );
  }

  take(reading, age) {
    // A reading that is sent again is not younger.
    const known = this.isAt(reading) ? this.age : 0;
    this.timestamp = reading.timestamp;
    this.received = receipt(reading);
    this.temp_tenths = reading.temp_tenths ?? null;
    this.sensor_ok = reading.sensor_ok;
    this.#takeRelays(reading);
    this.#relaysSince = null;
    this.#ageThen = Math.max(0, age, known);
    this.#since = stopwatch();
  }

  /** Take the relays of an event without a reading: temperature and age stay as they are. */
  takeRelays(event) {
    this.#takeRelays(event);
    this.#relaysSince = stopwatch();
  }

  takeTrust(trust) {
    this.trust = trust ?? TRUSTED;
  }

  takeSettings(values) {
    this.setpoint_tenths = values.setpoint_tenths;
    this.deadband_tenths = values.deadband_tenths;
  }

  hasSettings(values) {
    return (
      this.setpoint_tenths === values.setpoint_tenths &&
      this.deadband_tenths === values.deadband_tenths
    );
  }

  /** The zone as a snapshot of the server has it, for a page that joins the stream of this one. */
  status() {
    const { deviceId: device_id, timestamp, received, temp_tenths, sensor_ok, state } = this;
    const { cool_active, heat_active, relays_known, trust, setpoint_tenths, deadband_tenths } = this;
    return {
      device_id,
      timestamp,
      received,
      temp_tenths,
      sensor_ok,
      state,
      cool_active,
      heat_active,
      relays_known,
      trust: this.#watch.sendsTrust ? trust : undefined,
      setpoint_tenths,
      deadband_tenths,
      fault_reason: this.#faultReason,
      age_ms: this.age,
      held_by: this.held?.by ?? null,
      held_until: this.held?.until ?? null,
      set_by: this.setBy,
    };
  }

  #takeRelays(values) {
    if (this.state && values.cool_active !== this.cool_active) {
      this.#switched = this.#watch.now;
      this.#held = null;
    }
    if ("held_by" in values) {
      this.#held = values.held_by && { by: values.held_by, until: values.held_until ?? null };
    }
    this.state = values.state;
    this.cool_active = values.cool_active;
    this.heat_active = values.heat_active;
    this.relays_known = values.relays_known !== false;
    this.takeTrust(values.trust);
    this.#faultReason = values.fault_reason ?? null;
  }
}
