// The worker that holds the streams of a browser, with pages and streams that the test plays.

import assert from "node:assert/strict";
import { test } from "node:test";

import { sources } from "./support/event_sources.js";

// The worker's timers must not keep this process.
const { setInterval: every } = globalThis;
globalThis.setInterval = (...given) => every(...given).unref();
let connect = null;
globalThis.addEventListener = (name, handler) => {
  if (name === "connect") connect = handler;
};
await import("../../server/static/stream_worker.js");

function page() {
  const port = { postMessage: () => undefined };
  connect({ ports: [port] });
  return (data) => port.onmessage({ data });
}

test("pages of one session share a stream, and those of another session have their own", () => {
  const [one, same, other] = [page(), page(), page()];
  one({ join: "anna 1", lastId: "a-1" });
  same({ join: "anna 1", lastId: "a-1" });
  assert.equal(sources.length, 1);

  other({ join: "bert 2", lastId: "b-5" });

  assert.deepEqual(sources.map(({ path }) => path.split("=")[1]), ["a-1", "b-5"]);
  one({ leave: true });
  same({ leave: true });
  assert.deepEqual(sources.map(({ readyState }) => readyState), [2, 1]);
  other({ leave: true });
});
