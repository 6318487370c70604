// Keeps the state of each zone from the stream's events; it has no page elements.

import { stopwatch } from "./units.js";
import { Watch } from "./watch.js";
import { receipt, TRUSTED, Zone } from "./zone.js";

// Longer than any replay takes. After it a zone follows its events with any time: otherwise it
// would stand still if the server's clock was set back.
const CATCH_UP_MS = 30_000;
const QUIET = new Set(["never", "ok"]); // no reason to show a zone that is not shown yet

/** All zones; each method takes an event's data and returns the id of the zone that it changed. */
export class Zones {
  #zones = new Map();
  #resume = "fresh";
  #helloTs = 0;
  #replay = null; // a stopwatch while events from before the snapshot may be replayed
  #watch = new Watch();
  #names = new Map(); // by device id: {name, location, version}

  /** Now, by the server's clock (Unix ms). */
  get now() {
    return this.#watch.now;
  }

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
  snapshot({ zones, alarms = [] }) {
    const before = this.#zones;
    this.#zones = new Map();
    this.#watch.readSnapshot(zones);
    for (const status of zones) {
      if (typeof status.device_id !== "string") continue;
      const zone = before.get(status.device_id) ?? this.#new(status.device_id);
      const moved = !zone.isAt(status);
      if (!zone.hasSettings(status)) zone.setBy = null;
      if (status.set_by) zone.setBy = status.set_by;
      zone.take(status, status.age_ms ?? this.#watch.now - receipt(status));
      zone.takeSettings(status);
      zone.setAt = this.#helloTs;
      zone.catchingUp = this.#resume === "recovered" && moved ? stopwatch() : null;
      zone.forgetAlarms();
      this.#zones.set(zone.deviceId, zone);
    }
    for (const alarm of alarms) this.alarm(alarm);
  }

  alarm(event) {
    const zone = this.#zones.get(event.device_id);
    zone?.takeAlarm(event);
    return zone?.deviceId ?? null;
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

  /** A zone's name and location, from an event or from the list of zones. */
  settings({ device_id: id, name, location, version }) {
    const known = this.#names.get(id);
    if (known && known.version > version) return null;
    this.#names.set(id, { name: name ?? "", location: location ?? "", version });
    const zone = this.#zones.get(id);
    if (zone === undefined) return null;
    Object.assign(zone, { name: name ?? "", location: location ?? "" });
    return id;
  }

  deleted({ device_id: id }) {
    this.#names.delete(id);
    return this.#zones.delete(id) ? id : null;
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
    const zone = new Zone(deviceId, this.#watch);
    const { name = "", location = "" } = this.#names.get(deviceId) ?? {};
    return Object.assign(zone, { name, location });
  }
}
