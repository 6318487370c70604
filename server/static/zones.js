// Keeps the state of each zone from the stream's events; it has no page elements.
//
// Temperatures are tenths of °C, times Unix milliseconds of the server. A reading's `timestamp` is
// the device's date, which may be wrong by hours: age and order depend on the time of receipt.

import { stopwatch } from "./units.js";
import { STALE_MS, Watch } from "./watch.js";

// If the server reports no silence: three periods of a device that posts every 20 minutes.
const SILENT_MS = 3_600_000;
// Longer than any replay takes. After it a zone follows its events with any time: otherwise it
// would stand still if the server's clock was set back.
const CATCH_UP_MS = 30_000;

// The trust of an event that has none.
const TRUSTED = { state: "ok", since: 0, reason: null };
const QUIET = new Set(["never", "ok"]); // no reason to show a zone that is not shown yet

/** When the server received a reading; it sends that only if it differs from the reading's date. */
function receipt(reading) {
  return reading.received ?? reading.timestamp;
}

/** One zone: the values of its newest present reading, its relays, and its settings. */
class Zone {
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
  #watch;
  #faultReason = null;
  #ageThen = 0;
  #since = stopwatch();
  #relaysSince = null; // a stopwatch since an event gave the relays without a reading

  constructor(deviceId, watch) {
    this.deviceId = deviceId;
    this.#watch = watch;
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

  #takeRelays(values) {
    this.state = values.state;
    this.cool_active = values.cool_active;
    this.heat_active = values.heat_active;
    this.relays_known = values.relays_known !== false;
    this.takeTrust(values.trust);
    this.#faultReason = values.fault_reason ?? null;
  }
}

/** All zones; each method takes an event's data and returns the id of the zone that it changed. */
export class Zones {
  #zones = new Map();
  #resume = "fresh";
  #helloTs = 0;
  #replay = null; // a stopwatch while events from before the snapshot may be replayed
  #watch = new Watch();

  get size() {
    return this.#zones.size;
  }

  get(deviceId) {
    return this.#zones.get(deviceId);
  }

  [Symbol.iterator]() {
    return this.#zones.values();
  }

  /** Note whether the stream is live. */
  setLive(live) {
    this.#watch.setLive(live);
  }

  hello({ resume, ts }) {
    this.#resume = resume;
    this.#helloTs = ts;
    this.#replay = resume === "recovered" ? stopwatch() : null;
    this.#watch.setClock(ts);
  }

  heartbeat({ ts }) {
    this.#watch.setClock(ts);
    this.#replay = null; // a heartbeat follows a silence, so the replay is over
    for (const zone of this) zone.catchingUp = null;
  }

  /**
   * The whole state: zones that are not in it are gone. After "recovered" the replay follows, so a
   * zone with a new reading in the snapshot ignores older readings until that one comes.
   */
  snapshot({ zones }) {
    const before = this.#zones;
    this.#zones = new Map();
    this.#watch.readSnapshot(zones);
    for (const status of zones) {
      if (typeof status.device_id !== "string") continue;
      const zone = before.get(status.device_id) ?? this.#new(status.device_id);
      const moved = !zone.isAt(status);
      if (!zone.hasSettings(status)) zone.setBy = null;
      zone.take(status, status.age_ms ?? this.#watch.now - receipt(status));
      zone.takeSettings(status);
      zone.setAt = this.#helloTs;
      zone.catchingUp = this.#resume === "recovered" && moved ? stopwatch() : null;
      this.#zones.set(zone.deviceId, zone);
    }
  }

  telemetry(reading) {
    if (reading.present === false) return this.#notPresent(reading);
    const zone = this.#zone(reading.device_id);
    if (zone.catchingUp !== null) {
      const inTime = zone.catchingUp() < CATCH_UP_MS;
      const shown = zone.isAt(reading);
      if (inTime && !shown && receipt(reading) <= zone.received) return null;
      zone.catchingUp = null;
      // The snapshot has this reading, with relays that may have changed since.
      if (inTime && shown) return null;
    }
    zone.take(reading, this.#watch.now - receipt(reading));
    if (receipt(reading) > zone.setAt) zone.takeSettings(reading);
    return zone.deviceId;
  }

  /** An event that gives the relays without a stored reading. */
  zone(event) {
    if (this.#isReplayed(event.timestamp)) return null;
    const zone = this.#zone(event.device_id);
    zone.takeRelays(event);
    return zone.deviceId;
  }

  setpoint(event) {
    const zone = this.#zone(event.device_id);
    const inSnapshot = this.#resume === "recovered" && event.timestamp <= this.#helloTs;
    if (inSnapshot && !zone.hasSettings(event)) return null;
    zone.takeSettings(event);
    zone.setBy = { name: event.updated_by, timestamp: event.timestamp };
    zone.setAt = Math.max(zone.setAt, event.timestamp);
    return zone.deviceId;
  }

  // A reading from a device's backlog does not show the zone's present state, only its trust.
  #notPresent(reading) {
    if (this.#isReplayed(receipt(reading))) return null;
    const trust = reading.trust ?? TRUSTED;
    const known = this.#zones.get(reading.device_id);
    if (known === undefined ? QUIET.has(trust.state) : known.hasTrust(trust)) return null;
    const zone = this.#zone(reading.device_id);
    zone.takeTrust(trust);
    return zone.deviceId;
  }

  /** Whether the snapshot already includes the effect of an event of this moment. */
  #isReplayed(timestamp) {
    const replaying = this.#replay !== null && this.#replay() < CATCH_UP_MS;
    return replaying && timestamp <= this.#helloTs;
  }

  #zone(deviceId) {
    let zone = this.#zones.get(deviceId);
    if (zone === undefined) this.#zones.set(deviceId, (zone = this.#new(deviceId)));
    return zone;
  }

  #new(deviceId) {
    return new Zone(deviceId, this.#watch);
  }
}
