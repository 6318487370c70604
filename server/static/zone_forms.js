// The forms of a zone's page: a new setpoint; the name, location and thresholds.

import { errorWords, goToLogin, postJson, sendJson } from "./api.js";
import { say } from "./elements.js";
import { refusalWords, valueWords } from "./setpoint_words.js";
import { celsius, degrees, tenths, tenthsOfSpread, unit } from "./units.js";

const part = (id) => document.getElementById(id);
const LIMITS = [["high_tenths", "high"], ["low_tenths", "low"]];
const [LEAST, MOST] = [-550, 1250]; // what a threshold may be

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
      say(message, `Done: ${valueWords(body)}.`, "success");
    } else {
      say(message, refusalWords(answer) ?? errorWords(answer), "error");
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

/** What is wrong with thresholds; "" if nothing is. */
function limitProblem({ high_tenths: high, low_tenths: low }) {
  const isOff = (value) => value !== null && (value < LEAST || value > MOST);
  if (isOff(high) || isOff(low)) return `A threshold must be from ${celsius(LEAST)} to ${celsius(MOST)}.`;
  const isCrossed = high !== null && low !== null && low >= high;
  return isCrossed ? "“Alarm below” must be less than “Alarm above”." : "";
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
    const problem = limitProblem(limits);
    if (problem) {
      say(message, problem, "error");
      part("high").focus();
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
