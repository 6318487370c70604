// What the stream has told of each zone; no page elements here.
//
// Temperatures are tenths of °C, times Unix milliseconds of the server.

import { stopwatch } from "./units.js";

const STALE_MS = 10_000;
// Longer than any replay takes. After it a zone follows its events whatever their times say: a
// device whose clock was set back must not stand still here.
const CATCH_UP_MS = 30_000;

const READING = ["timestamp", "temp_tenths", "sensor_ok", "state", "cool_active", "heat_active"];

/** One zone: the values of its last reading and of its settings. */
class Zone {
  deviceId;
  timestamp = 0;
  temp_tenths = 0;
  sensor_ok = false;
  state = "";
  cool_active = false;
  heat_active = false;
  setpoint_tenths = 0;
  deadband_tenths = 0;
  setBy = null;
  setAt = 0; // readings up to this moment may have been decided with the settings before
  catchingUp = null; // a stopwatch while older readings may be replayed
  #ageThen = 0;
  #since = stopwatch();

  constructor(deviceId) {
    this.deviceId = deviceId;
  }

  get heard() {
    return this.timestamp > 0;
  }

  /** How old its last reading is: by its own time, or longer if it came longer ago. */
  get age() {
    return this.#ageThen + this.#since();
  }

  get stale() {
    return this.heard && this.age > STALE_MS;
  }

  get fault() {
    return this.heard && (!this.sensor_ok || this.state === "FAULT");
  }

  isAt(reading) {
    return (
      this.timestamp === reading.timestamp &&
      this.temp_tenths === reading.temp_tenths &&
      this.sensor_ok === reading.sensor_ok
    );
  }

  take(reading, age) {
    // The same reading told again is not younger for that.
    const known = this.isAt(reading) ? this.age : 0;
    for (const key of READING) this[key] = reading[key];
    this.#ageThen = Math.max(0, age, known);
    this.#since = stopwatch();
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
}

/** All zones; each method takes one event's data and returns the device id it changed, if any. */
export class Zones {
  #zones = new Map();
  #resume = "fresh";
  #helloTs = 0;
  #clock = { ts: Date.now(), at: performance.now() };

  get size() {
    return this.#zones.size;
  }

  get(deviceId) {
    return this.#zones.get(deviceId);
  }

  [Symbol.iterator]() {
    return this.#zones.values();
  }

  hello({ resume, ts }) {
    this.#resume = resume;
    this.#helloTs = ts;
    this.#setClock(ts);
  }

  heartbeat({ ts }) {
    this.#setClock(ts);
    for (const zone of this) zone.catchingUp = null; // silence: the replay is over
  }

  /**
   * The whole state: zones that are not in it are gone. After "recovered" the events that were
   * missed follow, so a zone that moved on meanwhile waits for the reading it already shows.
   */
  snapshot({ zones }) {
    const before = this.#zones;
    this.#zones = new Map();
    for (const status of zones) {
      if (typeof status.device_id !== "string") continue;
      const zone = before.get(status.device_id) ?? new Zone(status.device_id);
      const moved = !zone.isAt(status);
      if (!zone.hasSettings(status)) zone.setBy = null;
      zone.take(status, this.#now() - status.timestamp);
      zone.takeSettings(status);
      zone.setAt = this.#helloTs;
      zone.catchingUp = this.#resume === "recovered" && moved ? stopwatch() : null;
      this.#zones.set(zone.deviceId, zone);
    }
  }

  telemetry(reading) {
    const zone = this.#zone(reading.device_id);
    if (zone.catchingUp !== null) {
      const replayed =
        zone.catchingUp() < CATCH_UP_MS &&
        reading.timestamp <= zone.timestamp &&
        !zone.isAt(reading);
      if (replayed) return null;
      zone.catchingUp = null;
    }
    zone.take(reading, this.#now() - reading.timestamp);
    if (reading.timestamp > zone.setAt) zone.takeSettings(reading);
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

  #zone(deviceId) {
    let zone = this.#zones.get(deviceId);
    if (zone === undefined) this.#zones.set(deviceId, (zone = new Zone(deviceId)));
    return zone;
  }

  // The server's clock, carried on by one that nobody can set.
  #now() {
    return this.#clock.ts + performance.now() - this.#clock.at;
  }

  #setClock(ts) {
    this.#clock = { ts, at: performance.now() };
  }
}
