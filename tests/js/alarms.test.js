// Open alarms from events, and which alarms a list shows.

import assert from "node:assert/strict";
import { test } from "node:test";

import { chosen, kindWords, standWords } from "../../server/static/alarm_words.js";
import { Alarms } from "../../server/static/alarms.js";
import { bodyOf, fieldsOf, hoursWords } from "../../server/static/notice_targets.js";

const NOW = 1e12;

function alarm(id, more = {}) {
  return {
    id, device_id: "lab", kind: "high", severity: "critical", state: "active", since: NOW - 1000,
    changed: NOW - 1000, cleared: null, zones: null, temp_tenths: 315, limit_tenths: 300,
    acknowledged_by: null, shelved_by: null, shelved_until: null, comments: [], ...more,
  };
}

function begun(resume, list, count = list.length) {
  const alarms = new Alarms();
  alarms.hello({ resume, ts: NOW });
  alarms.snapshot({ alarms: list, alarm_count: count });
  return alarms;
}

const ids = (alarms) => [...alarms].map(({ id }) => id);

test("an event adds an alarm, changes it and ends it; an older one changes nothing", () => {
  const alarms = begun("fresh", []);
  alarms.alarm(alarm("a", { step: "raised" }));
  alarms.alarm(alarm("a", { step: "acknowledged", state: "acknowledged", changed: NOW + 5 }));
  alarms.alarm(alarm("a", { step: "raised" }));
  assert.equal(alarms.get("a").state, "acknowledged");
  assert.equal(alarms.get("a").step, undefined);
  alarms.alarm(alarm("a", { step: "cleared", state: "cleared", changed: NOW + 6 }));
  assert.deepEqual(ids(alarms), []);
});

test("a replayed event does not bring back an alarm that the snapshot no longer has", () => {
  const old = alarm("gone", { step: "raised" });
  const replayed = begun("recovered", [alarm("a")]);
  assert.equal(replayed.alarm(old), false);
  assert.deepEqual(ids(replayed), ["a"]);
  replayed.heartbeat();
  replayed.alarm(old); // the replay is over: another process's clock may be behind
  assert.deepEqual(ids(replayed), ["a", "gone"]);
});

test("alarms beyond those of the snapshot are counted until they are loaded or over", () => {
  const alarms = begun("fresh", [alarm("a")], 4);
  alarms.alarm(alarm("far", { step: "cleared", state: "cleared" }));
  assert.equal(alarms.more, 2);
  alarms.add([alarm("a"), alarm("b")], false);
  assert.deepEqual([alarms.size, alarms.more], [2, 1]);
  alarms.add([], true);
  assert.equal(alarms.status().alarm_count, 2);
});

test("an alarm asks for somebody until it is acknowledged, and not while it is shelved", () => {
  const shelved = alarm("s", { shelved_until: NOW + 10 });
  const alarms = begun("fresh", [alarm("a"), shelved, alarm("p", { state: "pending" }), alarm("k", { state: "acknowledged" })]);
  assert.deepEqual(alarms.unseen(NOW).map(({ id }) => id), ["a"]);
  assert.deepEqual(alarms.unseen(NOW + 20).map(({ id }) => id), ["a", "s"]);
});

test("those that ask for somebody come first, the worst and newest before the others", () => {
  const list = [
    alarm("seen", { state: "acknowledged" }),
    alarm("info", { severity: "info" }),
    alarm("old", { since: NOW - 9000 }),
    alarm("new"),
    alarm("over", { state: "cleared" }),
  ];
  const shown = (choice, isAbout = () => true) =>
    ids(chosen(list, { state: "open", severity: "", ...choice }, isAbout, NOW));
  assert.deepEqual(shown({}), ["new", "old", "info", "seen"]);
  assert.deepEqual(shown({ severity: "info" }), ["info"]);
  assert.deepEqual(shown({ state: "past" }), ["over"]);
  assert.deepEqual(shown({ state: "active" }, ({ id }) => id !== "old"), ["new", "info"]);
});

test("an unknown kind has its name, and an alarm says who shelved it", () => {
  assert.equal(kindWords({ kind: "door_open" }), "Door open");
  const words = standWords(alarm("a", { shelved_by: "op", shelved_until: NOW + 60_000 }), NOW);
  assert.match(words, /^not acknowledged, shelved by op until /);
});

test("a target's form sends only what its kind has, and a secret only if it is changed", () => {
  const target = { name: "t", url: "https://h/x", hours: { days: [2, 4], start: "22:00", end: "06:00" },
    severity: "critical", enabled: false, secret_set: true };
  const values = Object.fromEntries(fieldsOf("webhook", target).map(({ name, value = "" }) => [name, value]));
  assert.equal(values.secret, "");
  assert.deepEqual(bodyOf("webhook", values), {
    name: "t", kind: "webhook", severity: "critical", enabled: false, url: "https://h/x", hours: target.hours });
  assert.equal(bodyOf("webhook", { ...values, removal: "remove" }).secret, "");
  assert.equal(bodyOf("webhook", { ...values, secret: "new" }).secret, "new");
  assert.equal(hoursWords(target.hours), "Tue, Thu 22:00–06:00");
  const mail = { ...values, days: "", host: "h", port: "25", tls: "none", username: "", sender: "a@b", recipients: "c@d, e@f," };
  assert.deepEqual(bodyOf("email", mail).recipients, ["c@d", "e@f"]);
  assert.equal(bodyOf("email", mail).hours, null);
});
