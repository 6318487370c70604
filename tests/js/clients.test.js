// The programs to copy hold any device id, whatever is in it.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";

import { curlLine, microPython } from "../../server/static/clients.js";

const HOSTILE = `'; rm "\\n\u2028 é 😀 $(date)`;

test("a shell takes the line's parts as they are meant", () => {
  const line = curlLine("http://bas/x", HOSTILE, "bas_k");
  const seen = execFileSync("/bin/sh", ["-c", line.replace("curl", "printf '%s\\n'")], { encoding: "utf8" });
  const parts = seen.trimEnd().split("\n");
  assert.equal(parts[0], "http://bas/x/api/sensor_data");
  assert.ok(parts.includes("Authorization: Bearer bas_k"));
  assert.equal(JSON.parse(parts.at(-1)).device_id, HOSTILE);
});

test("the program is ASCII where it names the device, and Python reads the same name", () => {
  const program = microPython("http://bas/x", "'\"\\é", "bas_k");
  const [, literal] = /"device_id": (.*),/.exec(program);
  assert.equal(literal, '"\'\\"\\\\\\u00e9"');
  assert.ok(program.includes('{"Authorization": "Bearer bas_k"}'));
});
