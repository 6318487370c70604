// Zones: name, location, device.

import { adminPage, button, call, list, moment } from "./admin_frame.js";
import { showKey } from "./device_key.js";
import { confirmed, formDialog } from "./dialogs.js";
import { element } from "./elements.js";
import { below } from "./root.js";
import { fileButtons } from "./zone_file.js";

const PAGE = 1000;
const MOST = 10_000;

const path = (id) => `/api/zones/${encodeURIComponent(id)}`;

async function load() {
  const zones = [];
  let after = "";
  do {
    const page = await call("GET", `/api/zones?limit=${PAGE}${after}`);
    zones.push(...page.zones);
    after = page.next ? `&start_after=${encodeURIComponent(page.next)}` : "";
  } while (after && zones.length < MOST);
  return zones;
}

function link(zone) {
  const query = new URLSearchParams({ device_id: zone.device_id });
  return element("a", zone.name || zone.device_id, { href: below(`/zone?${query}`) });
}

const again = adminPage({
  load,
  render: (zones) => list("Zones", [
    ["Zone", link],
    ["Location", (zone) => zone.location || "–"],
    ["Device", (zone) => zone.device_id],
    ["Last reading", (zone) => moment(zone.received)],
    ["Key", (zone) => (zone.has_key ? "yes" : "none")],
    ["Change", (zone) => [
      button("Rename", () => rename(zone), { label: `Rename: ${zone.device_id}` }),
      button("Replace device", () => replace(zone), { label: `Replace device: ${zone.device_id}` }),
      button("Delete", () => remove(zone), { kind: "danger", label: `Delete: ${zone.device_id}` }),
    ]],
  ], zones, "No zone has reported yet. A zone appears with its device's first reading."),
  buttons: fileButtons(button, () => again),
});

async function rename({ device_id: id, name, location, version }) {
  const fields = [
    { name: "name", label: "Name", maxlength: "80", value: name ?? "" },
    { name: "location", label: "Location", maxlength: "80", value: location ?? "" },
  ];
  const known = { STALE_VERSION: "Another user has changed this zone. Close this form and open it again." };
  const done = await formDialog(`Name of ${id}`, fields, "Save", (values) =>
    call("PATCH", path(id), { ...values, version }, known));
  if (done !== null) await again(`${id} is called ${done.name || id}.`);
}

/** The new controller posts as the same device, with a key that the old one does not have. */
async function replace({ device_id: id, name, has_key: hasKey }) {
  const old = hasKey
    ? "The old controller's key ends when the new one posts, at the latest in a day."
    : "The old controller has no key: it is refused at once, and its relays stay as they are.";
  const words = `The zone keeps its name, location, setpoint, alarms and history. ${old}` +
    ` The new controller posts as ${id} with the key that is shown next.`;
  if (!(await confirmed(`Replace the device of ${name || id}?`, words, "Make its key", "primary"))) return;
  const made = await call("POST", "/api/devices/key", { device_id: id, overlap: hasKey });
  await showKey(made);
  await again(`${name || id} waits for its new device.`);
}

async function remove({ device_id: id, name }) {
  const words = "Its setpoint, name and location are deleted; its readings stay until they expire." +
    " A device that still posts makes a new zone.";
  if (!(await confirmed(`Delete ${name || id}?`, words, "Delete"))) return;
  const done = await call("DELETE", path(id));
  const isOn = done.commanded?.cool_active;
  const relays = isOn ? " Its cooler was on: it stays on until the device posts again." : "";
  await again(`${name || id} is deleted.${relays}`);
}
