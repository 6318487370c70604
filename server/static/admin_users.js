// Accounts: who may log in, with which role.

import { adminPage, allOf, button, call, list, moment } from "./admin_frame.js";
import { confirmed, formDialog } from "./dialogs.js";

const ROLES = [
  ["read-only", "read-only: sees everything"],
  ["operator", "operator: also changes setpoints"],
  ["admin", "admin: also accounts, keys, zones"],
];
const PASSWORD = {
  name: "password",
  label: "Password",
  type: "password",
  autocomplete: "new-password",
  hint: "At least 12 characters, and not one that many people use. A few words are good.",
  required: "",
};

const path = (name, more = "") => `/api/users/${encodeURIComponent(name)}${more}`;

const again = adminPage({
  load: () => allOf("/api/users"),
  render: (users) => list("Accounts", [
    ["Name", (user) => user.username],
    ["Role", (user) => user.role],
    ["State", (user) => (user.state === "locked" ? "locked after wrong passwords" : user.state)],
    ["Last log-in", (user) => moment(user.last_login)],
    ["Change", buttonsOf],
  ], users, "There is no account."),
  buttons: [button("New user", create, { kind: "primary" })],
});

/** Do what a dialog or a button asks for, and show the list again. */
async function done(work, words) {
  const result = await work;
  if (result) await again(words);
}

function buttonsOf(user) {
  const name = user.username;
  const isOff = user.state === "disabled";
  const named = (words) => ({ label: `${words}: ${name}` });
  const shown = [
    button("Role", () => changeRole(user), named("Role")),
    button("Password", () => setPassword(name), named("Password")),
    button(isOff ? "Enable" : "Disable", () => disable(name, !isOff), named(isOff ? "Enable" : "Disable")),
    button("Delete", () => remove(name), { ...named("Delete"), kind: "danger" }),
  ];
  if (user.state === "locked") {
    shown.unshift(button("Unlock", () => change(name, "Unlocked", "POST", "/unlock"), named("Unlock")));
  }
  return shown;
}

function create() {
  const fields = [
    { name: "username", label: "User name", required: "", maxlength: "64", autocapitalize: "none" },
    { name: "role", label: "Role", options: ROLES },
    PASSWORD,
  ];
  return done(
    formDialog("New user", fields, "Create", (values) => call("POST", "/api/users", values)),
    "The user may log in now.",
  );
}

function changeRole({ username, role }) {
  const fields = [{ name: "role", label: "Role", options: ROLES, value: role }];
  const submit = (values) => call("PATCH", path(username), values);
  return done(formDialog(`Role of ${username}`, fields, "Change", submit), `${username} has another role.`);
}

function setPassword(name) {
  const submit = (values) => call("POST", path(name, "/password"), values);
  const words = `${name} has a new password, and is logged out everywhere.`;
  return done(formDialog(`Password of ${name}`, [PASSWORD], "Set", submit), words);
}

async function change(name, words, method, more, body) {
  await call(method, path(name, more), body);
  await again(`${words}: ${name}.`);
}

function disable(name, disabled) {
  return change(name, disabled ? "Disabled" : "Enabled", "PATCH", "", { disabled });
}

async function remove(name) {
  const words = `${name} is logged out everywhere and cannot log in again. The audit log keeps the name.`;
  if (await confirmed(`Delete ${name}?`, words, "Delete")) await change(name, "Deleted", "DELETE", "");
}
