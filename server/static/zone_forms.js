// The forms of a zone's page: a new setpoint; the name, location and thresholds.

import { errorWords, goToLogin, postJson, sendJson } from "./api.js";
import { say } from "./elements.js";
import { celsius, degrees, spread, tenths, tenthsOfSpread, unit } from "./units.js";

const part = (id) => document.getElementById(id);
const REFUSALS = new Map([
  ["Invalid setpoint", "The setpoint must be from 10.0 to 40.0 °C."],
  ["Invalid deadband", "The deadband must be from 0.0 to 5.0 °C."],
  ["DEVICE_NOT_FOUND", "This zone is not known to the server any more."],
]);

const LIMITS = [["high_tenths", "high"], ["low_tenths", "low"]];

function isLoggedOut({ status }) {
  if (status === 401 || status === 423) goToLogin(status === 423 ? "locked" : "ended");
  return status === 401 || status === 423;
}

/** Values that a form has; `wrong` is the first field without a temperature. */
function read() {
  const body = {};
  let wrong = null;
  for (const [name, id, parse] of [
    ["setpoint_tenths", "setpoint", tenths],
    ["deadband_tenths", "deadband", tenthsOfSpread],
  ]) {
    const field = part(id);
    const value = parse(field.value);
    const isWrong = field.value.trim() !== "" && value === null;
    field.setAttribute("aria-invalid", String(isWrong));
    if (isWrong) wrong ??= field;
    if (value !== null) body[name] = value;
  }
  return { body, wrong };
}

function inWords(body) {
  const values = [];
  if ("setpoint_tenths" in body) values.push(`setpoint ${celsius(body.setpoint_tenths)}`);
  if ("deadband_tenths" in body) values.push(`deadband ${spread(body.deadband_tenths)}`);
  return values.join(", ");
}

export function setpointForm(deviceId) {
  const form = part("setpoint-form");
  const message = part("setpoint-message");
  const button = form.querySelector("button");
  showUnit();
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    const { body, wrong } = read();
    if (wrong || Object.keys(body).length === 0) {
      const words = wrong ? "Write a temperature such as 23.5." : "Write a setpoint or a deadband.";
      say(message, words, "error");
      (wrong ?? part("setpoint")).focus();
      return;
    }
    button.disabled = true;
    say(message, "Sending…");
    const answer = await postJson("/api/set_setpoint", { ...body, device_id: deviceId });
    button.disabled = false;
    if (isLoggedOut(answer)) return;
    if (answer.status === 200) {
      form.reset();
      say(message, `Done: ${inWords(body)}.`, "success");
    } else {
      const known = REFUSALS.get(answer.body.error) ?? REFUSALS.get(answer.body.code);
      say(message, known ?? errorWords(answer), "error");
    }
  });
}

export function showUnit() {
  for (const word of document.querySelectorAll(".unit")) word.textContent = unit();
}

/** The thresholds in the form, null for an empty field; `wrong` is the first that is no temperature. */
function readLimits() {
  const body = {};
  let wrong = null;
  for (const [name, id] of LIMITS) {
    const field = part(id);
    const isEmpty = field.value.trim() === "";
    body[name] = isEmpty ? null : tenths(field.value);
    const isWrong = !isEmpty && body[name] === null;
    field.setAttribute("aria-invalid", String(isWrong));
    if (isWrong) wrong ??= field;
  }
  return { body, wrong };
}

/** The form for name, location and thresholds. `known()` are those of now, `onSaved(document)` gets new ones. */
export function namesForm(deviceId, known, onSaved) {
  const form = part("names");
  const message = part("names-message");
  const [name, location, save] = [part("name"), part("location"), form.querySelector(".primary")];
  const close = () => {
    form.hidden = true;
    part("rename").focus();
  };
  part("rename").addEventListener("click", () => {
    name.value = known().name ?? "";
    location.value = known().location ?? "";
    for (const [field, id] of LIMITS) {
      const limit = known()[field] ?? null;
      part(id).value = limit === null ? "" : degrees(limit);
      part(id).removeAttribute("aria-invalid");
    }
    say(message, "");
    form.hidden = false;
    name.focus();
  });
  part("names-cancel").addEventListener("click", close);
  form.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (save.disabled) return;
    const { body: limits, wrong } = readLimits();
    if (wrong) {
      say(message, "Write a temperature such as 23.5, or nothing.", "error");
      wrong.focus();
      return;
    }
    save.disabled = true;
    const body = { name: name.value.trim(), location: location.value.trim(), ...limits };
    if (known().version !== undefined) body.version = known().version;
    const answer = await sendJson("PATCH", `/api/zones/${encodeURIComponent(deviceId)}`, body);
    save.disabled = false;
    if (isLoggedOut(answer)) return;
    if (answer.status === 200) {
      onSaved(answer.body);
      close();
    } else if (answer.status === 409) {
      say(message, "Another user has changed this: please look again.", "warn");
      if (answer.body.zone) onSaved(answer.body.zone);
    } else {
      say(message, errorWords(answer), "error");
      name.focus();
    }
  });
}
