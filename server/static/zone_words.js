// A zone in words that an operator understands.

import { doubtWords, faultFound, refusedWords, silentWords, stuckWords } from "./trust_words.js";

const STATES = new Map([
  ["COOLING_WITH_LEDS", "Cooling"],
  ["COOLING", "Cooling"],
  ["IDLE_WITH_LEDS", "Idle"],
  ["IDLE", "Idle"],
]);

const FAULT_NAMES = new Map([
  ["unreadable", "Device fault"],
  ["untrusted", "Fault"],
]);

// What is wrong, on the card, in an announcement, and in a count of zones.
const PROBLEMS = new Map([
  ["fault", { counted: "with a fault" }],
  ["silent fault", { counted: "with a fault" }],
  ["refused", { name: "Refused", told: "the device's posts are refused", counted: "refused" }],
  ["stuck", { name: "Not obeyed", told: "the device does not obey", counted: "not obeyed" }],
  ["silent", { name: "Silent", told: "the device is silent", counted: "silent" }],
  ["late", { name: "Late dates", told: "the device's dates are late", counted: "with late dates" }],
  ["suspect", { name: "In doubt", told: "the readings are in doubt", counted: "in doubt" }],
  ["stale", { name: "Stale", told: "no new readings", counted: "without new readings" }],
]);

/**
 * What is wrong with a zone: "new" (never heard), "well", or one of PROBLEMS. The server's word
 * comes first, the worst before the others; "stale" is what the page finds by itself.
 */
export function condition(zone) {
  if (zone.fault) return zone.stale ? "silent fault" : "fault";
  if (zone.late) return "late";
  if (PROBLEMS.has(zone.trust.state)) return zone.trust.state;
  if (!zone.heard) return "new";
  return zone.stale ? "stale" : "well";
}

export function stateWords(zone) {
  if (zone.fault) return faultName(zone);
  const now = condition(zone);
  // Relays that were told lately are news, though the temperature is none.
  if (zone.relaysNewer && (now === "stale" || now === "new")) return relayState(zone);
  if (now === "new") return "No reading yet";
  return PROBLEMS.get(now)?.name ?? relayState(zone);
}

/** The new condition of a zone, as it is announced; null if it is not. */
export function newsWords(zone) {
  switch (condition(zone)) {
    case "fault":
      return faultName(zone).toLowerCase();
    case "silent fault":
      return `${faultName(zone).toLowerCase()}, no new readings`;
    case "well":
      return "working again";
    default:
      return PROBLEMS.get(condition(zone))?.told ?? null;
  }
}

/** What an operator has to know before trusting the card; empty if nothing. */
export function warningWords(zone) {
  const words = zone.fault ? [faultWords(zone), faultRelays(zone)] : [trustWords(zone)];
  if (zone.stale && zone.trust.state !== "silent") words.push(staleWords(zone));
  return words.filter(Boolean).join(" ");
}

/** Since when that is so, and for how long (ms); null where nobody told. */
export function warningSince(zone) {
  const now = condition(zone);
  const state = zone.fault ? "fault" : now === "late" ? "suspect" : now;
  return zone.trust.state === state ? zone.since : null;
}

/** Counts the zones, in words by what is wrong with them and `problems` in all. */
export function countZones(zones) {
  let total = 0;
  let cooling = 0;
  let problems = 0;
  const counts = new Map([...PROBLEMS.values()].map(({ counted }) => [counted, 0]));
  for (const zone of zones) {
    total += 1;
    if (zone.cool_active) cooling += 1;
    const problem = PROBLEMS.get(condition(zone));
    if (problem === undefined) continue;
    problems += 1;
    counts.set(problem.counted, counts.get(problem.counted) + 1);
  }
  const words = [`${total} zone${total === 1 ? "" : "s"}`, `${cooling} cooling`];
  for (const [counted, count] of counts) if (count > 0) words.push(`${count} ${counted}`);
  return { total, problems, words: words.join(" · ") };
}

/** A relay as it is, or as it was told to be where nobody can know or the device says otherwise. */
export function relayWords(zone, on) {
  const confirmed = zone.relays_known && zone.trust.state !== "stuck";
  return `${on ? "On" : "Off"}${confirmed ? "" : ", not confirmed"}`;
}

function relayState(zone) {
  return STATES.get(zone.state) ?? zone.state;
}

function trustWords({ trust }) {
  switch (trust.state) {
    case "suspect":
      return doubtWords(trust);
    case "silent":
      return silentWords();
    case "stuck":
      return stuckWords(trust);
    case "refused":
      return refusedWords(trust);
    default:
      return "";
  }
}

function faultName(zone) {
  return FAULT_NAMES.get(zone.faultReason) ?? "Sensor fault";
}

function faultWords(zone) {
  const found = faultFound(zone.faultReason);
  if (found) return found;
  return zone.temp_tenths === null
    ? "Sensor fault: the device cannot read its sensor."
    : "Sensor fault: the temperature is not reliable.";
}

// A zone may have a safe state of its own, with a relay on: then both being off would be untrue.
function faultRelays(zone) {
  if (zone.cool_active || zone.heat_active) return "The relays are in the zone's safe state.";
  return zone.relays_known ? "Both relays are off." : "Both relays were told to be off.";
}

function staleWords(zone) {
  if (zone.late) return "These values are old.";
  if (zone.relaysNewer) return "No new readings are stored: the temperature is old.";
  return "No new readings: these values are old.";
}
