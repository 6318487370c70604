// What pages say of zones, of changes and of temperatures.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { detailWords } from "../../server/static/audit_words.js";
import { prefer } from "../../server/static/preferences.js";
import { previewWords, undoBodies, valueWords } from "../../server/static/setpoint_words.js";
import { doubtWords, faultFound } from "../../server/static/trust_words.js";
import { celsius, degrees, spread, tenths, tenthsOfSpread } from "../../server/static/units.js";
import { condition, countConditions, heldWords, siteWords, warningWords } from "../../server/static/zone_words.js";
import { Zones } from "../../server/static/zones.js";

const kept = new Map();
globalThis.localStorage = {
  getItem: (key) => kept.get(key) ?? null,
  setItem: (key, value) => kept.set(key, value),
};
beforeEach(() => prefer("units", "C"));

test("temperatures and deadbands are read back as they are written, in both units", () => {
  for (const unit of ["C", "F"]) {
    prefer("units", unit);
    for (let value = -550; value <= 1250; value += 1) {
      assert.equal(tenths(degrees(value)), value, `${value} in °${unit}`);
    }
    for (let value = 0; value <= 50; value += 1) {
      assert.equal(tenthsOfSpread(spread(value).split("\u00a0")[0]), value);
    }
  }
  assert.equal(celsius(235), "74.3\u00a0°F");
  assert.equal(spread(10), "1.8\u00a0°F");
});

const zone = {
  hasReading: true,
  temp_tenths: 240,
  setpoint_tenths: 230,
  deadband_tenths: 10,
  cool_active: false,
  fault: false,
};

test("a preview says what the cooler does after the change", () => {
  const words = (body, more = {}) => previewWords({ ...zone, ...more }, body).replaceAll("\u00a0", " ");
  assert.equal(words({ setpoint_tenths: 220 }), "The cooler runs above 23.0 °C. At 24.0 °C it goes on.");
  assert.equal(words({ setpoint_tenths: 230 }), "The cooler runs above 24.0 °C. At 24.0 °C it stays off.");
  assert.equal(words({ deadband_tenths: 0 }, { fault: true }), "The cooler runs above 23.0 °C.");
  assert.equal(words({ deadband_tenths: 0 }, { setpoint_tenths: null }), "");
  assert.equal(valueWords({ setpoint_tenths: 220, deadband_tenths: 5 }), "setpoint 22.0\u00a0°C, deadband 0.5\u00a0°C");
});

test("an undo restores each zone, and leaves what others have changed since", () => {
  const old = (setpoint_tenths) => ({ setpoint_tenths, deadband_tenths: 10 });
  const before = new Map([["a", old(210)], ["b", old(220)], ["same", old(250)], ["gone", old(200)]]);
  const now = { a: old(250), b: old(190), same: old(250) };
  const bodies = undoBodies(before, { setpoint_tenths: 250 }, (id) => now[id]);
  assert.deepEqual(bodies, [{ setpoint_tenths: 210, device_id: "a" }]);
});

test("an undo of all zones that had the same values restores those of new zones too", () => {
  const before = new Map(["a", "b"].map((id) => [id, { setpoint_tenths: 230, deadband_tenths: 10 }]));
  const now = { setpoint_tenths: 250, deadband_tenths: 10 };
  assert.deepEqual(undoBodies(before, { setpoint_tenths: 250 }, () => now), [{ setpoint_tenths: 230 }]);
});

test("what holds the cooler is said with the time that is left", () => {
  const held = (by, until) => ({ by, until });
  const words = (value, on) => heldWords({ held: value, cool_active: on }, 100_000);
  assert.equal(words(held("minimum_off_time", 106_000), false), "held off 6 s more: minimum off time");
  assert.equal(words(held("a_new_one", null), true), "held on: a new one");
  assert.equal(words(held("fault", null), false), "", "the warning says it");
  assert.equal(words(null, true), "");
});

test("a page knows of a cooler that it saw switch how long its minimum time lasts", () => {
  const zones = new Zones();
  const reading = { device_id: "lab", timestamp: 1e12, setpoint_tenths: 230, deadband_tenths: 10, sensor_ok: true };
  zones.hello({ resume: "fresh", ts: 1e12 });
  const post = (temp_tenths, cool_active) =>
    zones.telemetry({ ...reading, temp_tenths, cool_active, state: "IDLE", heat_active: true });
  post(250, true);
  post(230, false);
  assert.equal(zones.get("lab").held, null);
  post(250, false);
  assert.equal(zones.get("lab").held.by, "minimum_off_time");
});

test("the site's state is one line, and its counts are filters", () => {
  const pairs = [[{ cool_active: true }, "well"], [{}, "fault"], [{}, "silent fault"], [{}, "late"]];
  const counts = countConditions(pairs);
  assert.deepEqual(counts.filters.map(({ words }) => words), [
    "4 zones",
    "1 cooling",
    "2 with a fault",
    "1 with late dates",
  ]);
  assert.equal(siteWords(counts), "3 zones of 4 need attention");
  assert.equal(siteWords(countConditions([[{}, "well"]])), "All well: 1 zone, 0 cooling");
  assert.equal(siteWords(countConditions([])), "");
});

test("an active alarm that is not shelved is a problem of a zone that is trusted", () => {
  const zones = new Zones();
  const reading = { device_id: "lab", timestamp: 1e12, temp_tenths: 290, sensor_ok: true, state: "IDLE" };
  const alarm = { id: "a-1", device_id: "lab", kind: "high", state: "active", limit_tenths: 280 };
  const now = () => condition(zones.get("lab"));
  zones.hello({ resume: "fresh", ts: 1e12 });
  zones.telemetry(reading);
  assert.equal(zones.alarm({ ...alarm, state: "pending" }), "lab");
  assert.equal(now(), "well");
  zones.alarm(alarm);
  zones.alarm({ ...alarm, id: "b-1", kind: "long_running" });
  assert.deepEqual([now(), warningWords(zones.get("lab"))], ["high", "Above the threshold of 28.0\u00a0°C."]);
  zones.alarm({ ...alarm, shelved_until: zones.now + 60_000 });
  assert.equal(now(), "well");
  zones.alarm({ ...alarm, state: "acknowledged", shelved_until: null });
  assert.equal(now(), "high");
  const trust = { state: "fault", since: 5, reason: "no_value" };
  zones.zone({ ...reading, trust, timestamp: 2e12, cool_active: false, heat_active: false });
  assert.equal(now(), "fault");
  zones.telemetry({ ...reading, timestamp: 3e12 });
  zones.alarm({ ...alarm, state: "cleared" });
  assert.equal(now(), "well");
  assert.equal(zones.alarm({ ...alarm, device_id: null }), null);
  zones.snapshot({ zones: [zones.get("lab").status()], alarms: [alarm] });
  assert.equal(now(), "high");
});

test("a zone has the name of the newest settings, and of old events none", () => {
  const zones = new Zones();
  zones.settings({ device_id: "lab", name: "Laboratory", location: null, version: 2 });
  zones.telemetry({ device_id: "lab", timestamp: 1, temp_tenths: 1, sensor_ok: true, state: "IDLE" });
  zones.settings({ device_id: "lab", name: "Old", location: "Old", version: 1 });
  assert.deepEqual([zones.get("lab").title, zones.get("lab").location], ["Laboratory", ""]);
  assert.equal(zones.deleted({ device_id: "lab" }), "lab");
  assert.equal(zones.get("lab"), undefined);
});

test("a page that joins a stream gets the zones as the others show them", () => {
  const [one, other] = [new Zones(), new Zones()];
  one.hello({ resume: "fresh", ts: 1e12 });
  const trust = { state: "silent", since: 5, reason: "no_reading" };
  one.telemetry({
    device_id: "lab", timestamp: 1e12, temp_tenths: 215, sensor_ok: true, state: "IDLE",
    cool_active: false, heat_active: true, setpoint_tenths: 230, deadband_tenths: 10, trust,
  });
  one.setpoint({ device_id: "lab", setpoint_tenths: 220, deadband_tenths: 5, updated_by: "eve", timestamp: 1e12 });
  other.hello({ resume: "fresh", ts: one.now });
  other.snapshot({ zones: [...one].map((zone) => JSON.parse(JSON.stringify(zone.status()))) });
  const { age_ms: oneAge, ...expected } = one.get("lab").status();
  const { age_ms: otherAge, ...got } = other.get("lab").status();
  assert.deepEqual(got, expected);
  assert.ok(Math.abs(otherAge - oneAge) < 5000);
});

test("an entry of the audit log has its temperatures and its deadband in the person's unit", () => {
  const details = { setpoint_tenths: 215, old_deadband_tenths: 10, deadband_tenths: 20 };
  assert.equal(detailWords(details), "setpoint: 21.5\u00a0°C, old deadband: 1.0\u00a0°C, deadband: 2.0\u00a0°C");
  prefer("units", "F");
  assert.equal(detailWords(details), "setpoint: 70.7\u00a0°F, old deadband: 1.8\u00a0°F, deadband: 3.6\u00a0°F");
});

test("limits in the words about trust are in the person's unit", () => {
  const words = () => [doubtWords({ reason: "jump" }), doubtWords({ reason: "power_on" }), faultFound("out_of_range")]
    .map((one) => one.replaceAll("\u00a0", " ")).join(" ");
  for (const known of ["more than 10.0 °C:", "85.0 °C is", "outside −55.0 to 125.0 °C,"]) {
    assert.ok(words().includes(known), words());
  }
  prefer("units", "F");
  for (const known of ["more than 18.0 °F:", "185.0 °F is", "outside −67.0 to 257.0 °F,"]) {
    assert.ok(words().includes(known), words());
  }
});
