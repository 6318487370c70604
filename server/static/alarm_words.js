// Alarms in words, and which of them a list shows: pure.

import { isOpen, isShelved, isUnseen } from "./alarms.js";
import { celsius, span, timeShort } from "./units.js";

const KINDS = new Map([
  ["silent", "The device is silent"],
  ["fault", "Sensor fault"],
  ["high", "Too warm"],
  ["low", "Too cold"],
  ["stuck", "The device does not obey"],
  ["refused", "The device's posts are refused"],
  ["device_key_refused", "The device's key is refused"],
  ["short_cycling", "The cooler starts too often"],
  ["long_running", "The cooler has run for hours"],
  ["many_silent", "Many zones are silent"],
  ["many_fault", "Many zones have a fault"],
  ["many_stuck", "Many devices do not obey"],
  ["many_refused", "The posts of many devices are refused"],
  ["store_away", "Readings cannot be stored"],
  ["disk_nearly_full", "The disk is nearly full"],
  ["clock_wrong", "The server's clock was set"],
  ["notice_failed", "A notice could not be delivered"],
]);

/** From the worst to the least. */
export const SEVERITIES = ["critical", "warning", "info"];

/** What the list can show, and its words. */
export const STATES = new Map([
  ["open", "Open"],
  ["active", "Open, not acknowledged"],
  ["acknowledged", "Acknowledged"],
  ["shelved", "Shelved"],
  ["pending", "Pending: not yet an alarm"],
  ["past", "Past"],
]);

/** What an alarm is about, or its kind as the server names it. */
export function kindWords({ kind }) {
  const words = kind.replaceAll("_", " ");
  return KINDS.get(kind) ?? words.charAt(0).toUpperCase() + words.slice(1);
}

/**
 * The temperature with the limit that it passed, or the number of zones; "" without either. A value
 * that passed no limit is not why there is an alarm, and that of a fault is none.
 */
export function valueWords({ temp_tenths: temp, limit_tenths: limit, zones }) {
  if (zones) return `${zones} zone${zones === 1 ? "" : "s"}`;
  const isBeyond = Number.isFinite(temp) && Number.isFinite(limit);
  return isBeyond ? `${celsius(temp)} (limit ${celsius(limit)})` : "";
}

/** Since when, and for how long; `now` in Unix ms of the server. */
export function timeWords({ since, cleared }, now) {
  if (cleared) return `${timeShort(since)}, for ${span(cleared - since)}`;
  return `since ${timeShort(since)}, for ${span(now - since)}`;
}

/** Its state in words: acknowledged or shelved by which user, or over. */
export function standWords(alarm, now) {
  const words = [];
  if (alarm.state === "pending") words.push("pending");
  if (alarm.state === "active") words.push("not acknowledged");
  if (alarm.acknowledged_by) words.push(`acknowledged by ${alarm.acknowledged_by}`);
  if (isOpen(alarm) && isShelved(alarm, now)) {
    words.push(`shelved by ${alarm.shelved_by} until ${timeShort(alarm.shelved_until)}`);
  }
  if (!isOpen(alarm)) words.push("over");
  return words.join(", ");
}

/** One remark in a line. */
export function commentWords({ at, by, text }) {
  return `${by}, ${timeShort(at)}: ${text}`;
}

function hasState(alarm, state, now) {
  if (state === "past") return !isOpen(alarm);
  if (!isOpen(alarm)) return false;
  if (state === "open") return true;
  return state === "shelved" ? isShelved(alarm, now) : alarm.state === state;
}

/**
 * The alarms to show: open ones with those first that ask for somebody, the worst and the newest
 * before the others; past ones in the order in which they changed. `isAbout(alarm)` says whether
 * the search finds its zone.
 */
export function chosen(alarms, { state, severity }, isAbout, now) {
  const found = [...alarms].filter((alarm) =>
    hasState(alarm, state, now) && (severity === "" || alarm.severity === severity) && isAbout(alarm));
  const rank = (alarm) => SEVERITIES.indexOf(alarm.severity) + (isUnseen(alarm, now) ? 0 : 10);
  const byUrgency = (a, b) => rank(a) - rank(b) || b.since - a.since || (a.id < b.id ? -1 : 1);
  return found.sort(state === "past" ? (a, b) => b.changed - a.changed : byUrgency);
}
