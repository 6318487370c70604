// What changed on the overview since it was looked at last.

import assert from "node:assert/strict";
import { test } from "node:test";

globalThis.addEventListener ??= () => undefined;
const { Board } = await import("../../server/static/board.js");

const TRUSTED = { state: "ok", since: 0, reason: null };

function zone(values) {
  return {
    deviceId: "lab", title: "lab", location: "", cool_active: false, fault: false, late: false,
    stale: false, hasReading: true, trust: TRUSTED, alarm: null, ...values,
  };
}

function zonesOf(...list) {
  return new Map(list.map((one) => [one.deviceId, one]));
}

function look(board, values, ids = ["lab"]) {
  const zones = zonesOf(zone(values));
  const list = { get: (id) => zones.get(id), [Symbol.iterator]: () => zones.values() };
  const { changed, switched, renamed, started } = board.update(list, ids);
  return { changed, switched, renamed, started: started.map(({ deviceId }) => deviceId) };
}

const NOTHING = { changed: false, switched: false, renamed: false, started: [] };

test("a cooler that switches changes the counts, and no zone's condition", () => {
  const board = new Board();
  assert.equal(look(board, {}).changed, true);
  assert.deepEqual(look(board, {}), NOTHING);

  assert.deepEqual(look(board, { cool_active: true }), { ...NOTHING, switched: true });
  assert.deepEqual(look(board, { cool_active: true }), NOTHING);
});

test("a zone whose condition changes is announced, one that has another name is not", () => {
  const board = new Board();
  look(board, {});

  assert.deepEqual(look(board, { fault: true }), { ...NOTHING, changed: true, started: ["lab"] });
  const named = look(board, { fault: true, title: "Laboratory" });
  assert.deepEqual([named.changed, named.renamed, named.started], [true, true, []]);
});
