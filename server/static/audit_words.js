// Entries of the audit log in words: pure.

import { celsius, spread } from "./units.js";

const ACTIONS = new Map([
  ["SETPOINT_CHANGE", "changed the setpoint"],
  ["LOGIN_SUCCESS", "logged in"],
  ["LOGIN_FAILURE", "could not log in"],
  ["USER_LOCKED", "was locked after wrong passwords"],
  ["ACCESS_DENIED", "was refused"],
  ["DEVICE_REFUSED", "a device was refused"],
  ["DEVICE_REGISTERED", "registered a device"],
  ["DEVICE_KEY_ISSUED", "made a device key"],
  ["DEVICE_KEY_ROTATED", "made a new device key"],
  ["DEVICE_KEY_REVOKED", "revoked a device key"],
  ["DEVICE_DELETED", "deleted a device"],
]);

/** An action in words, or by its name without underscores. */
export function actionWords(action) {
  return ACTIONS.get(action) ?? action.toLowerCase().replaceAll("_", " ");
}

/** A value of this name: a temperature or a deadband, which is a difference, in the person's unit. */
export function valueWords(name, value) {
  if (name.endsWith("deadband_tenths") && Number.isFinite(value)) return spread(value);
  if (name.endsWith("_tenths") && Number.isFinite(value)) return celsius(value);
  if (value === undefined || value === null || value === "") return "none";
  if (typeof value === "object") return detailWords(value);
  return String(value);
}

/** The details of an entry in one line; `without` are names that the reader knows. */
export function detailWords(details, without = []) {
  return Object.entries(details ?? {})
    .filter(([name, value]) => !without.includes(name) && (value !== null || name.startsWith("old_")))
    .map(([name, value]) =>
      `${name.replace("_tenths", "").replaceAll("_", " ")}: ${valueWords(name, value)}`)
    .join(", ");
}

/** Whether an entry is about this zone: of its device, or of all zones of the site. */
export function isAbout({ action, details }, deviceId) {
  const device = details?.device_id;
  return device === deviceId || (action.startsWith("SETPOINT") && (device ?? null) === null);
}
