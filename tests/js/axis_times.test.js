// The labels of the axis of time.

import assert from "node:assert/strict";
import test from "node:test";

import { axisTimes } from "../../server/static/axis_times.js";

const HOUR_MS = 3_600_000;
const at = (text) => Date.parse(text);

test("hours are those of the site's zone, and each new day is named once", () => {
  const labels = axisTimes("Europe/Berlin", "en-GB");
  const splits = [at("2026-11-29T21:00Z"), at("2026-11-29T23:00Z"), at("2026-11-30T01:00Z")];
  assert.deepEqual(labels(splits, 2 * HOUR_MS),
    ["22:00\n29 Nov", "0:00\n30 Nov", "2:00"]);
});

test("days have their year, once", () => {
  const labels = axisTimes("", "en-GB");
  const splits = [at("2026-12-30T12:00Z"), at("2026-12-31T12:00Z"), at("2027-01-01T12:00Z")];
  assert.deepEqual(labels(splits, 24 * HOUR_MS), ["30 Dec\n2026", "31 Dec", "1 Jan\n2027"]);
});
