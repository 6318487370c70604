// Devices and their keys.

import { adminPage, button, call, list, moment } from "./admin_frame.js";
import { confirmed, formDialog } from "./dialogs.js";
import { showKey } from "./device_key.js";

const again = adminPage({
  load: () => call("GET", "/api/devices").then((found) => Object.values(found)),
  render: (devices) => list("Devices", [
    ["Device", (one) => one.device_id],
    ["Key", keyWords],
    ["Key used", (one) => (one.has_key ? moment(one.key_used_at) : "–")],
    ["Registered", (one) => moment(one.created_at)],
    ["Change", buttonsOf],
  ], devices, "No device is registered. A device that has no key may post without one, unless" +
    " BAS_DEVICE_AUTH=required."),
  buttons: [button("Register a device", register, { kind: "primary" })],
});

function keyWords(one) {
  if (one.key_revoked) return "revoked: refused until it has a new one";
  if (one.old_key_until) return "two, until the new one is used";
  return one.has_key ? "yes" : "none: anyone may post as this device";
}

function buttonsOf(one) {
  const id = one.device_id;
  const named = (words) => ({ label: `${words}: ${id}` });
  const shown = [
    button("New key", () => newKey(one), named("New key")),
    button("Delete", () => remove(id), { ...named("Delete"), kind: "danger" }),
  ];
  if (one.has_key && !one.key_revoked) {
    shown.splice(1, 0, button("Revoke", () => revoke(id), { ...named("Revoke"), kind: "danger" }));
  }
  return shown;
}

async function register() {
  const fields = [{
    name: "device_id", label: "Device id", required: "", maxlength: "128",
    hint: "As the device posts it: a zone has the same id.",
  }];
  const made = await formDialog("Register a device", fields, "Make its key", ({ device_id }) =>
    call("POST", "/api/devices/key", { device_id, overlap: false }));
  if (made === null) return;
  await showKey(made);
  await again(`${made.device_id} has a key.`);
}

async function newKey({ device_id, has_key: hasKey, key_revoked: isRevoked }) {
  const isRotation = hasKey && !isRevoked;
  const words = isRotation
    ? "The old key stays valid until the device uses the new one, at most for a day."
    : "From then on the device is refused without this key.";
  if (!(await confirmed(`New key for ${device_id}?`, words, "Make a new key"))) return;
  const made = await call("POST", "/api/devices/key", { device_id, overlap: isRotation });
  await showKey(made);
  await again(`${device_id} has a new key.`);
}

async function revoke(id) {
  const words = "The device is refused within 5 s: its relays stay as they are until it has a new key.";
  if (!(await confirmed(`Revoke the key of ${id}?`, words, "Revoke"))) return;
  await call("POST", "/api/devices/key/revoke", { device_id: id });
  await again(`The key of ${id} is revoked.`);
}

async function remove(id) {
  const words = "Its keys, its zone and its setpoint are deleted. Its readings stay until they expire.";
  if (!(await confirmed(`Delete ${id}?`, words, "Delete"))) return;
  await call("POST", "/api/devices/delete", { device_id: id });
  await again(`${id} is deleted.`);
}
