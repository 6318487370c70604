// The hub that shares one stream between pages, with a stream that the test writes.

import assert from "node:assert/strict";
import { test } from "node:test";

import { sources } from "./support/event_sources.js";

globalThis.addEventListener ??= () => undefined;

const { StreamHub } = await import("../../server/static/stream_hub.js");

const STATUS = {
  device_id: "lab", timestamp: 5, received: 5, temp_tenths: 215, sensor_ok: true, state: "IDLE",
  cool_active: false, heat_active: true, setpoint_tenths: 230, deadband_tenths: 10,
};

const ALARM = { id: "a-1", device_id: "lab", state: "active", severity: "critical", changed: 5 };

function page() {
  const got = [];
  const send = (message) => got.push(message);
  const events = () => got.flatMap((message) => message.events ?? []).map(([name]) => name);
  return { got, send, events };
}

test("pages share one stream, a late one gets the zones, and the last one to go closes it", () => {
  const hub = new StreamHub(async () => ({}), "epoch-7");
  const [one, other] = [page(), page()];
  hub.join(one.send);
  const [source] = sources;
  assert.equal(source.path, "/api/sse/telemetry?last_event_id=epoch-7");
  source.say("hello", { resume: "fresh", ts: 1e12, heartbeat_s: 20 });
  source.say("snapshot", { zones: [STATUS], alarms: [ALARM], alarm_count: 3 }, "epoch-8");
  source.say("session", { ends_at: 1e12 + 90_000, ts: 1e12, extendable: true });
  assert.deepEqual(one.events(), ["hello", "snapshot", "session"]);
  assert.equal(one.got.at(-1).id, "epoch-8");

  hub.join(other.send);

  assert.equal(sources.length, 1);
  assert.deepEqual(other.events(), ["hello", "snapshot", "session"]);
  const { zones, alarms, alarm_count: count } = JSON.parse(other.got[0].events[1][1]);
  assert.deepEqual([alarms, count], [[ALARM], 3]);
  assert.deepEqual([zones[0].device_id, zones[0].temp_tenths], ["lab", 215]);
  assert.equal(other.got.at(-1).state, "live");

  hub.leave(one.send);
  assert.equal(source.readyState, 1);
  assert.equal(hub.answered(one.send), false, "it has to join again");
  hub.leave(other.send);
  assert.equal(source.readyState, 2);

  hub.join(one.send);
  assert.equal(sources.at(-1).path, "/api/sse/telemetry?last_event_id=epoch-8");
  hub.close();
});
