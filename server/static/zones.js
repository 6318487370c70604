// What the stream has told of each zone; no page elements here.
//
// Temperatures are tenths of °C, times Unix milliseconds of the server. A reading's `timestamp` is
// the device's own date, which may be wrong by hours: age and order go by when it was received.

import { stopwatch } from "./units.js";
import { STALE_MS, Watch } from "./watch.js";

// Where the server does not tell: three periods of a device that posts every 20 minutes.
const SILENT_MS = 3_600_000;
// Longer than any replay takes. After it a zone follows its events whatever their times say: a
// server whose clock was set back must not stand still here.
const CATCH_UP_MS = 30_000;

// What an event without trust says.
const TRUSTED = { state: "ok", since: 0, reason: null };
const QUIET = new Set(["never", "ok"]); // no reason to show a zone that is not shown yet

/** When the server had a reading; it says so only where that is not the reading's own date. */
function receipt(reading) {
  return reading.received ?? reading.timestamp;
}

/** One zone: the values of its newest present reading, its relays, and its settings. */
class Zone {
  deviceId;
  timestamp = 0;
  received = 0;
  temp_tenths = null; // a failed sensor has none
  sensor_ok = false;
  state = "";
  cool_active = false;
  heat_active = false;
  relays_known = true;
  trust = TRUSTED;
  setpoint_tenths = null; // not known until a reading or a snapshot tells
  deadband_tenths = null;
  setBy = null;
  setAt = 0; // readings up to this moment may have been decided with the settings before
  catchingUp = null; // a stopwatch while older readings may be replayed
  #watch;
  #faultReason = null;
  #ageThen = 0;
  #since = stopwatch();
  #relaysTold = null; // a stopwatch since the relays were told without a reading

  constructor(deviceId, watch) {
    this.deviceId = deviceId;
    this.#watch = watch;
  }

  get heard() {
    return this.received > 0;
  }

  /** How old its last reading is: since its receipt, or longer if it came longer ago. */
  get age() {
    return this.#ageThen + this.#since();
  }

  get stale() {
    return this.heard && this.age > this.#patience;
  }

  /**
   * How old its last reading may be. Devices post every second or every ten minutes, and only the
   * server knows each one's period: as long as it is heard, it says when a zone is silent. Stuck,
   * refused and fault hide that, so there an hour is too long. Where the server is not heard, or
   * tells no trust, or the device's dates are late, so that its posts bring no new values: 10 s.
   */
  get #patience() {
    const { state } = this.trust;
    if (!this.#watch.counts || this.late || state === "never") return STALE_MS;
    return state === "ok" || state === "suspect" ? Infinity : SILENT_MS;
  }

  /** Since when its trust is as it is (Unix ms of the server) and for how long; null: unknown. */
  get since() {
    const { since } = this.trust;
    return since > 0 ? { since, ms: this.#watch.now - since } : null;
  }

  /** Of a fault that the sensor did not announce. */
  get faultReason() {
    return this.#faultReason ?? (this.trust.state === "fault" ? this.trust.reason : null);
  }

  /** Whether its relays were told lately without a reading: they are news, however old that is. */
  get relaysNewer() {
    return this.#relaysTold !== null && this.#relaysTold() <= STALE_MS;
  }

  // By the state alone, not by the reading's sensor_ok: the relays may have been told since.
  get fault() {
    return this.state === "FAULT" || this.trust.state === "fault";
  }

  hasTrust({ state, reason }) {
    return this.trust.state === state && this.trust.reason === reason;
  }

  /** Whether its readings do not control because their dates are late. */
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
    // The same reading told again is not younger for that.
    const known = this.isAt(reading) ? this.age : 0;
    this.timestamp = reading.timestamp;
    this.received = receipt(reading);
    this.temp_tenths = reading.temp_tenths ?? null;
    this.sensor_ok = reading.sensor_ok;
    this.#takeRelays(reading);
    this.#relaysTold = null;
    this.#ageThen = Math.max(0, age, known);
    this.#since = stopwatch();
  }

  /** The relays without a reading: temperature and age stay the last reading's. */
  takeRelays(event) {
    this.#takeRelays(event);
    this.#relaysTold = stopwatch();
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

/** All zones; each method takes one event's data and returns the device id it changed, if any. */
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

  /** Whether the stream is live. */
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
    this.#replay = null; // silence: the replay is over
    for (const zone of this) zone.catchingUp = null;
  }

  /**
   * The whole state: zones that are not in it are gone. After "recovered" the events that were
   * missed follow, so a zone that moved on meanwhile waits for the reading it already shows.
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
      // The snapshot holds it, with relays that may have changed since.
      if (inTime && shown) return null;
    }
    zone.take(reading, this.#watch.now - receipt(reading));
    if (receipt(reading) > zone.setAt) zone.takeSettings(reading);
    return zone.deviceId;
  }

  /** The relays, where no stored reading tells of them. */
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

  // A row of a backlog says nothing of how the zone is now, but for its trust.
  #notPresent(reading) {
    if (this.#isReplayed(receipt(reading))) return null;
    const trust = reading.trust ?? TRUSTED;
    const known = this.#zones.get(reading.device_id);
    if (known === undefined ? QUIET.has(trust.state) : known.hasTrust(trust)) return null;
    const zone = this.#zone(reading.device_id);
    zone.takeTrust(trust);
    return zone.deviceId;
  }

  /** Whether the snapshot already tells what came of an event of this moment. */
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
