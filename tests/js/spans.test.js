// The span that a chart shows: zoom, pan, the present, and what an address says of it.

import assert from "node:assert/strict";
import test from "node:test";

import {
  between, fromQuery, latest, LONGEST_MS, moved, panned, SHORTEST_MS, toQuery, zoomed,
} from "../../server/static/spans.js";

const NOW = 1_800_000_000_000;
const HOUR_MS = 3_600_000;

test("a span that follows moves with the time, another one stays", () => {
  assert.equal(moved(latest(HOUR_MS, NOW), NOW + 5000).end, NOW + 5000);
  const past = between(NOW - 3 * HOUR_MS, NOW - HOUR_MS, NOW);
  assert.deepEqual(moved(past, NOW + 5000), past);
});

test("nobody pans or zooms into the future, or out of what is kept", () => {
  assert.deepEqual(panned(latest(HOUR_MS, NOW), 0.5, NOW), latest(HOUR_MS, NOW));
  const earlier = panned(latest(HOUR_MS, NOW), -0.5, NOW);
  assert.equal(earlier.end, NOW - HOUR_MS / 2);
  assert.equal(earlier.follows, false);
  assert.equal(panned(earlier, 0.5, NOW).follows, true);
  assert.equal(zoomed(latest(LONGEST_MS, NOW), 2, NOW).length, LONGEST_MS);
  assert.equal(between(NOW - 9, NOW - 1, NOW).length, SHORTEST_MS);
});

test("a zoom keeps its place: the present, the middle, or the time under the pointer", () => {
  assert.deepEqual(zoomed(latest(2 * HOUR_MS, NOW), 0.5, NOW), latest(HOUR_MS, NOW));
  const past = between(NOW - 5 * HOUR_MS, NOW - HOUR_MS, NOW);
  const half = zoomed(past, 0.5, NOW);
  assert.deepEqual([half.start, half.end], [NOW - 4 * HOUR_MS, NOW - 2 * HOUR_MS]);
  const at = zoomed(past, 0.5, NOW, past.start);
  assert.deepEqual([at.start, at.end], [past.start, past.start + 2 * HOUR_MS]);
});

test("an address brings back its span, and any other text a day", () => {
  for (const span of [latest(6 * HOUR_MS, NOW), between(NOW - 5 * HOUR_MS, NOW - HOUR_MS, NOW)]) {
    assert.deepEqual(fromQuery(new URLSearchParams(toQuery(span)), NOW), span);
  }
  for (const text of ["", "last=x", "start=5&end=4", "start=1e99&end=x", "last=-4"]) {
    assert.deepEqual(fromQuery(new URLSearchParams(text), NOW), latest(24 * HOUR_MS, NOW));
  }
});
