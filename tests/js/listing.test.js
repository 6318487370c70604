// Which zones the overview shows, in which order; and which of them are in sight.

import assert from "node:assert/strict";
import { test } from "node:test";

import { arrange, isFound, nameOrder } from "../../server/static/listing.js";
import { rowsOf, windowOf } from "../../server/static/virtual.js";

const CONDITIONS = { attic: "well", "floor 2": "silent", "floor 10": "fault", lab: "well" };
const TEMPS = { attic: 250, "floor 2": 210, "floor 10": null, lab: 226 };

function zone(deviceId, more = {}) {
  return {
    deviceId,
    title: deviceId,
    location: "",
    cool_active: false,
    hasReading: true,
    temp_tenths: TEMPS[deviceId],
    setpoint_tenths: 230,
    ...more,
  };
}

function arranged(zones, choice) {
  const all = { filter: "all", search: "", sort: "problems", grouped: false, ...choice };
  const found = arrange(zones, all, nameOrder(zones), ({ deviceId }) => CONDITIONS[deviceId]);
  return found.map((entry) => entry.group ?? entry.zone.deviceId);
}

const ZONES = Object.keys(CONDITIONS).map((name) => zone(name));

test("problems come first, the worst before the others, then by name", () => {
  assert.deepEqual(arranged(ZONES, {}), ["floor 10", "floor 2", "attic", "lab"]);
});

test("names are ordered by the numbers in them", () => {
  assert.deepEqual(arranged(ZONES, { sort: "name" }), ["attic", "floor 2", "floor 10", "lab"]);
});

test("a zone without a temperature is last in orders of temperature", () => {
  assert.deepEqual(arranged(ZONES, { sort: "warmest" }), ["attic", "lab", "floor 2", "floor 10"]);
  assert.deepEqual(arranged(ZONES, { sort: "coldest" }), ["floor 2", "lab", "attic", "floor 10"]);
  const far = arranged(ZONES, { sort: "deviation" });
  assert.deepEqual(far, ["attic", "floor 2", "lab", "floor 10"]);
});

test("a filter shows only the zones that its count counts", () => {
  assert.deepEqual(arranged(ZONES, { filter: "silent" }), ["floor 2"]);
  assert.deepEqual(arranged(ZONES, { filter: "problems" }), ["floor 10", "floor 2"]);
  const cooling = [...ZONES, zone("c", { cool_active: true })];
  assert.deepEqual(arranged(cooling, { filter: "cooling" }), ["c"]);
});

test("a search finds all its words in name, id or location", () => {
  const one = zone("pico-17", { title: "Meeting room", location: "East wing" });
  for (const search of ["", "meet", "PICO east", " room  wing "]) assert.ok(isFound(one, search));
  assert.ok(!isFound(one, "meeting west"));
});

test("groups are in the order of locations, those without one last", () => {
  const zones = [zone("attic"), zone("lab", { location: "B" }), zone("floor 2", { location: "A" })];
  const found = arranged(zones, { grouped: true });
  assert.deepEqual(found, ["A", "floor 2", "B", "lab", "No location", "attic"]);
});

test("of 10,000 cards only those in sight are in the window, and nothing is lost", () => {
  const entries = Array.from({ length: 10_000 }, (_, n) => ({ key: String(n) }));
  const layout = rowsOf(entries, { columns: 4, itemHeight: 100, groupHeight: 30 });
  assert.equal(layout.height, 250_000);

  const { from, to, before, after } = windowOf(layout, 50_000, 50_800, 200);

  assert.equal(from, 1992);
  assert.equal(to, 2044);
  assert.equal(before + ((to - from) / 4) * 100 + after, layout.height);
});

test("the window is never outside of the list", () => {
  const layout = rowsOf([{}, {}, {}], { columns: 2, itemHeight: 100, groupHeight: 30 });
  assert.deepEqual(windowOf(layout, -9000, -8000, 10), { from: 0, to: 2, before: 0, after: 100 });
  assert.deepEqual(windowOf(layout, 9000, 9900, 10), { from: 2, to: 3, before: 100, after: 0 });
  const none = rowsOf([], { columns: 2 });
  assert.deepEqual(windowOf(none, 0, 100, 10), { from: 0, to: 0, before: 0, after: 0 });
});

test("a group has a row to itself, and the row before it may be short", () => {
  const entries = [{ group: "A" }, {}, {}, {}, { group: "B" }, {}];
  const { rows, height } = rowsOf(entries, { columns: 2, itemHeight: 100, groupHeight: 30 });
  assert.deepEqual(rows, [[0, 1], [1, 3], [3, 4], [4, 5], [5, 6]]);
  assert.equal(height, 360);
});
