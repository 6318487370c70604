// What a chart draws of the server's answers.

import assert from "node:assert/strict";
import test from "node:test";

import {
  alignedLines,
  bandAt,
  completeUntil,
  joined,
  ofReadings,
  ofSeries,
} from "../../server/static/chart_rows.js";

const bucket = (t, mean, more = {}) => ({
  t, count: mean === null ? 0 : 5, min: mean, mean, max: mean, cool: 0, heat: 1, ...more,
});
const unknown = (t) => bucket(t, null, { cool: null, heat: null });
const reading = (timestamp, temp, more = {}) => ({
  timestamp, temp_tenths: temp, sensor_ok: true, cool_active: false, heat_active: true, ...more,
});

test("a bucket in which nothing is known is a gap, one in which a reading still holds is not", () => {
  const points = [bucket(0, 210), bucket(10, null), bucket(20, 220), unknown(30), bucket(40, 230)];
  const { rows, bars } = ofSeries({ start: 0, step_ms: 10, points }, Infinity);
  assert.deepEqual(rows.map(({ t, mean }) => [t, mean]), [[5, 210], [25, 220], [35, null], [45, 230]]);
  assert.deepEqual(bars.map(({ from }) => from), [0, 10, 20, 40]);
});

test("every number that is not finite is a gap, also the first one", () => {
  const points = [NaN, Infinity, undefined, 210].map((mean, at) => bucket(at * 10, mean));
  const { rows } = ofSeries({ start: 0, step_ms: 10, points }, Infinity);
  assert.deepEqual(rows.map(({ mean }) => mean), [null, null, null, 210]);
  const of = ofReadings([reading(0, NaN), reading(5, 210)], 9);
  assert.deepEqual(of.rows.map(({ mean }) => mean), [null, 210]);
});

test("only whole buckets are taken, so that single readings can follow without a seam", () => {
  const points = [0, 10, 20].map((t) => bucket(t, 200 + t));
  const series = { start: 0, step_ms: 10, points };
  assert.equal(completeUntil(series, 29), 20);
  assert.equal(completeUntil(series, 500), 30);
  assert.equal(completeUntil(series, -5), 0);
  assert.deepEqual(ofSeries(series, 20).rows.map(({ t }) => t), [5, 15]);
});

test("a fault is a gap with its relays, and a silence ends with the time that a reading holds", () => {
  const found = ofReadings(
    [reading(0, 210), reading(2000, null, { sensor_ok: false }), reading(4000, 212),
      reading(500_000, 215, { cool_active: true })], 501_000);
  assert.deepEqual(found.rows.map(({ t, mean }) => [t, mean]),
    [[0, 210], [2000, null], [4000, 212], [64_000, null], [500_000, 215]]);
  assert.deepEqual(found.bars.at(-2), { from: 4000, to: 64_000, cool: 0, heat: 1 });
  assert.deepEqual(found.bars.at(-1), { from: 500_000, to: 501_000, cool: 1, heat: 1 });
});

test("between buckets and readings there is a gap only where nothing holds", () => {
  const buckets = ofSeries({ start: 0, step_ms: 10_000, points: [bucket(0, 210)] }, 10_000);
  const near = joined([buckets, ofReadings([reading(12_000, 211)], 13_000)], 60_000);
  assert.deepEqual(near.rows.map(({ mean }) => mean), [210, 211]);
  const far = joined([buckets, ofReadings([reading(900_000, 211)], 900_000)], 60_000);
  assert.deepEqual(far.rows.map(({ mean }) => mean), [210, null, 211]);
});

test("the band has the setpoint in force at each time, and setpoint and deadband above it", () => {
  const changes = [{ t: 10, setpoint: 230, deadband: 10 }, { t: 20, setpoint: 210, deadband: 5 }];
  assert.deepEqual(bandAt([10, 19, 20], changes), { low: [230, 230, 210], high: [240, 240, 215] });
  assert.deepEqual(bandAt([5], []), { low: [null], high: [null] });
});

test("there is no band before the first reading of a new zone", () => {
  const changes = [{ t: 10, setpoint: 230, deadband: 10 }];
  assert.deepEqual(bandAt([5, 9, 10], changes), { low: [null, null, 230], high: [null, null, 240] });
});

test("of two lines each goes through the times of the other, and keeps its own gaps", () => {
  const { times, lines } = alignedLines(
    [{ t: 1, mean: 200 }, { t: 3, mean: null }], [{ t: 2, mean: 300 }, { t: 3, mean: 310 }]);
  assert.deepEqual(times, [1, 2, 3]);
  assert.deepEqual(lines, [[200, undefined, null], [undefined, 300, 310]]);
});
