// Tokens of programs, and links of wall displays.

import { adminPage, button, call, list, moment } from "./admin_frame.js";
import { confirmed, formDialog, secretDialog } from "./dialogs.js";
import { below } from "./root.js";

const DAY_S = 86_400;
const KINDS = [["api", "a program"], ["display", "a wall display"]];
const ROLES = [["read-only", "read-only"], ["operator", "operator: may change setpoints"]];
const TIMES = [["", "until it is revoked"], ["30", "30 days"], ["90", "90 days"], ["365", "a year"]];
const STATES = { valid: "valid", expired: "expired", unopened: "link not opened yet" };

const again = adminPage({
  load: () => call("GET", "/api/tokens"),
  render: ({ data }) => list("Tokens and displays", [
    ["Name", (token) => token.name],
    ["For", (token) => (token.display ? "wall display" : "program")],
    ["Role", (token) => token.role],
    ["Zones", (token) => token.zones.join(", ") || "all"],
    ["State", (token) => STATES[token.state] ?? token.state],
    ["Ends", (token) => moment(token.expires_at)],
    ["Last used", (token) => moment(token.last_used)],
    ["Change", (token) => [button("Revoke", () => revoke(token), { kind: "danger", label: `Revoke: ${token.name}` })]],
  ], data, "There is no token. A program that reads or steers needs one, and so does a wall display."),
  buttons: [button("New token", create, { kind: "primary" })],
});

function bodyOf({ name, kind, role, days, zones }) {
  const isDisplay = kind === "display";
  return {
    name: name.trim(),
    display: isDisplay,
    role: isDisplay ? "read-only" : role,
    zones: zones.split(",").map((zone) => zone.trim()).filter(Boolean),
    ...(days ? { expires_in: Number(days) * DAY_S } : {}),
  };
}

async function create() {
  const fields = [
    { name: "name", label: "Name", required: "", maxlength: "64",
      hint: "Letters, digits, dot, dash and underscore." },
    { name: "kind", label: "For", options: KINDS },
    { name: "role", label: "Role", options: ROLES, hint: "A display only shows." },
    { name: "days", label: "Valid", options: TIMES },
    { name: "zones", label: "Zones", hint: "Device ids with commas between them; empty for all." },
  ];
  const made = await formDialog("New token", fields, "Create", (values) =>
    call("POST", "/api/tokens", bodyOf(values)));
  if (made === null) return;
  if (made.link) {
    const link = new URL(below(made.link), location.origin).href;
    await secretDialog("Link of the display", "Open this link once, on the display. It is shown only now.", link);
  } else {
    await secretDialog("Token", "A program sends it as Authorization: Bearer. It is shown only now.", made.secret);
  }
  await again(`${made.token.name} is made.`);
}

async function revoke({ name, display }) {
  const words = display
    ? "The display shows nothing within 5 s, and needs another link."
    : "The program is refused within 5 s, and needs another token.";
  if (!(await confirmed(`Revoke ${name}?`, words, "Revoke"))) return;
  await call("DELETE", `/api/tokens/${encodeURIComponent(name)}`);
  await again(`${name} is revoked.`);
}
