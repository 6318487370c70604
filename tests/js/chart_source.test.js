// The past from the history and the present from the stream: no reading twice, none missing.

import assert from "node:assert/strict";
import test from "node:test";

import { past } from "../../server/static/chart_source.js";
import { LiveTail } from "../../server/static/live_tail.js";

const HOUR_MS = 3_600_000;

/** A server with these readings, by their times. */
function server(stored) {
  const asked = [];
  const getJson = async (path) => {
    const url = new URL(path, "http://site");
    const [start, end, count] = ["start", "end", "points"].map((name) =>
      Number(url.searchParams.get(name)));
    asked.push(url.pathname);
    if (url.pathname.endsWith("window")) {
      return { status: 200, body: stored.filter((t) => t >= start).map(row).reverse() };
    }
    const step_ms = Math.ceil((end - start) / count);
    const points = Array.from({ length: count }, (_, at) => {
      const t = start + at * step_ms;
      const inside = stored.filter((one) => one >= t && one < t + step_ms);
      const mean = inside.length ? 210 : null;
      return { t, count: inside.length, min: mean, mean, max: mean, cool: 0, heat: 1, inside };
    });
    return { status: 200, body: { start, end, step_ms, points } };
  };
  return { getJson, asked };
}

const row = (timestamp) => ({
  timestamp, temp_tenths: 210, sensor_ok: true, cool_active: false, heat_active: true,
});

for (const [name, length, requests] of [
  ["an hour", HOUR_MS, 2],
  ["a week", 7 * 24 * HOUR_MS, 2],
  ["90 days", 90 * 24 * HOUR_MS, 3],
]) {
  test(`${name}: each reading is in a bucket or shown alone, also those that come now`, async () => {
    const stored = Array.from({ length: 2000 }, (_, at) => (at * length) / 2000);
    const { getJson, asked } = server(stored);
    const tail = new LiveTail();
    let now = length;
    const post = () => {
      stored.push((now += 2000));
      tail.add(row(now));
    };
    const charts = [];
    post(); // the stream is open before the history is asked
    const found = await past(async (path) => {
      post();
      const answer = await getJson(path);
      if (path.includes("series")) charts.push(answer.body);
      post();
      return answer;
    }, "lab", { start: 0, end: now, follows: true }, now, 600);
    tail.begin(found.cut, found.readings);
    post();

    const bucketed = charts.flatMap(({ points, step_ms }, at) => {
      const until = charts[at + 1]?.start ?? found.cut;
      return points.filter(({ t }) => t + step_ms <= until).flatMap(({ inside }) => inside);
    });
    assert.deepEqual([...bucketed, ...tail.readings.map(({ timestamp }) => timestamp)], stored);
    assert.equal(asked.length, requests);
  });
}

test("a span that ended long ago has no single readings, and its last bucket too", async () => {
  const { getJson, asked } = server([0, HOUR_MS / 4]);
  const found = await past(getJson, "lab", { start: 0, end: HOUR_MS / 2 }, HOUR_MS, 10);
  assert.deepEqual(asked, ["/api/telemetry/series"]);
  assert.equal(found.parts[0].bars.length, 10);
});

test("a refusal is handed on", async () => {
  const getJson = async () => ({ status: 503, body: { code: "STORE_UNAVAILABLE" } });
  await assert.rejects(past(getJson, "lab", { start: 0, end: 1 }, 1, 10),
    (error) => error.answer.body.code === "STORE_UNAVAILABLE");
});

test("the tail puts late readings in their place and knows what the buckets have", () => {
  const tail = new LiveTail();
  tail.begin(100, [row(100), row(110)]);
  assert.equal(tail.add(row(110)), false);
  assert.equal(tail.add(row(99)), false);
  assert.equal(tail.covers(99), false);
  assert.equal(tail.add(row(105)), true);
  assert.equal(tail.add({ ...row(105), temp_tenths: 220 }), true);
  assert.deepEqual(tail.readings.map(({ timestamp }) => timestamp), [100, 105, 105, 110]);
});
