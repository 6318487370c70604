// Describes a zone in words that an operator understands.

import { celsius, span } from "./units.js";
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

// The problems of a zone, as named on the card, in an announcement, and in a count of zones.
const PROBLEMS = new Map([
  ["fault", { counted: "with a fault" }],
  ["silent fault", { counted: "with a fault" }],
  ["refused", { name: "Refused", announced: "the device's posts are refused", counted: "refused" }],
  ["stuck", { name: "Not obeyed", announced: "the device does not obey", counted: "not obeyed" }],
  ["high", { name: "Too warm", announced: "too warm", counted: "too warm" }],
  ["low", { name: "Too cold", announced: "too cold", counted: "too cold" }],
  ["silent", { name: "Silent", announced: "the device is silent", counted: "silent" }],
  [
    "late",
    { name: "Late dates", announced: "the device's dates are late", counted: "with late dates" },
  ],
  ["suspect", { name: "In doubt", announced: "the readings are in doubt", counted: "in doubt" }],
  ["stale", { name: "Stale", announced: "no new readings", counted: "without new readings" }],
  [
    "short_cycling",
    { name: "Starts too often", announced: "the cooler starts too often", counted: "starting too often" },
  ],
]);

const WITH_PRESENT = new Set(["high", "low", "short_cycling"]);

/**
 * The condition of a zone: "new" (no reading yet), "well", or one of PROBLEMS. What the server
 * reports comes first, the worst before the others; the page itself finds only "stale". An active
 * alarm that is not shelved is one too, if the zone's trust does not show it anyway.
 */
export function condition(zone) {
  if (zone.fault) return zone.stale ? "silent fault" : "fault";
  if (zone.late) return "late";
  if (PROBLEMS.has(zone.trust.state)) return zone.trust.state;
  if (!zone.hasReading) return "new";
  return zone.stale ? "stale" : (zone.alarm?.kind ?? "well");
}

/** Whether the temperature may be taken for the zone's present one. */
export function isPresent(now) {
  return !PROBLEMS.has(now) || WITH_PRESENT.has(now);
}

export function stateWords(zone) {
  if (zone.fault) return faultName(zone);
  const now = condition(zone);
  // A recent event about the relays counts, although there is no recent temperature.
  if (zone.relaysNewer && (now === "stale" || now === "new")) return relayState(zone);
  if (now === "new") return "No reading yet";
  return PROBLEMS.get(now)?.name ?? relayState(zone);
}

/** The words that announce a zone's new condition; null if it is not announced. */
export function announcementWords(zone) {
  switch (condition(zone)) {
    case "fault":
      return faultName(zone).toLowerCase();
    case "silent fault":
      return `${faultName(zone).toLowerCase()}, no new readings`;
    case "well":
      return "working again";
    default:
      return PROBLEMS.get(condition(zone))?.announced ?? null;
  }
}

/** The warning that an operator must read before trusting the card; empty if there is none. */
export function warningWords(zone) {
  const words = zone.fault ? [faultWords(zone), faultRelays(zone)] : [trustWords(zone)];
  if (zone.stale && zone.trust.state !== "silent") words.push(staleWords(zone));
  return words.filter(Boolean).join(" ");
}

/** Since when the warning holds, and for how long (ms); null if the server did not send it. */
export function warningSince(zone) {
  const now = condition(zone);
  const state = zone.fault ? "fault" : now === "late" ? "suspect" : now;
  return zone.trust.state === state ? zone.since : null;
}

const RANKS = new Map([...PROBLEMS.keys()].map((name, rank) => [name, rank]));

/** How urgent a condition is: 0 is the worst; zones that are well have the highest number. */
export function rank(now) {
  return RANKS.get(now) ?? RANKS.size;
}

export function isProblem(now) {
  return PROBLEMS.has(now);
}

/** The name of the filter that shows a condition, such as "silent"; undefined if none does. */
export function filterOf(now) {
  return PROBLEMS.get(now)?.counted;
}

/**
 * Counts for filters: `filters` has a filter's name, its count and its words. "all" and "cooling"
 * are always there, the others if they count any zone. `problems` is the sum of the problems.
 */
export function countConditions(pairs) {
  let [total, cooling, problems] = [0, 0, 0];
  const counts = new Map([...PROBLEMS.values()].map(({ counted }) => [counted, 0]));
  for (const [zone, now] of pairs) {
    total += 1;
    if (zone.cool_active) cooling += 1;
    const counted = filterOf(now);
    if (counted === undefined) continue;
    problems += 1;
    counts.set(counted, counts.get(counted) + 1);
  }
  const filters = [
    { name: "all", count: total, words: `${total} zone${total === 1 ? "" : "s"}` },
    { name: "cooling", count: cooling, words: `${cooling} cooling` },
  ];
  for (const [name, count] of counts) {
    if (count > 0) filters.push({ name, count, words: `${count} ${name}` });
  }
  return { total, cooling, problems, filters };
}

// What holds a cooler of a zone without a problem: the words of a problem say what it holds.
const HOLDS = new Map([
  ["minimum_on_time", "minimum on time"],
  ["minimum_off_time", "minimum off time"],
  ["store_away", "readings cannot be stored"],
]);
const SAID_BY_WARNINGS = new Set(["fault", "untrusted", "stuck", "silent", "refused"]);

/** "held off 6 s more: minimum off time"; "" if nothing holds the cooler, or a warning says it. */
export function heldWords({ held, cool_active: on }, now) {
  if (held === null || SAID_BY_WARNINGS.has(held.by)) return "";
  const cause = HOLDS.get(held.by) ?? held.by.replaceAll("_", " ");
  const more = held.until === null ? "" : ` ${span(held.until - now + 999)} more`;
  return `held ${on ? "on" : "off"}${more}: ${cause}`;
}

/** The state of the site in one line. */
export function siteWords({ total, cooling, problems }) {
  if (total === 0) return "";
  const zones = (count) => `${count} zone${count === 1 ? "" : "s"}`;
  if (problems === 0) return `All well: ${zones(total)}, ${cooling} cooling`;
  return `${zones(problems)} of ${total} need${problems === 1 ? "s" : ""} attention`;
}

/** How many zones have a problem. */
export function countProblems(zones) {
  let problems = 0;
  for (const zone of zones) if (PROBLEMS.has(condition(zone))) problems += 1;
  return problems;
}

/** A relay's state; "not confirmed" if it is unknown or the device reports another state. */
export function relayWords(zone, on) {
  const confirmed = zone.relays_known && zone.trust.state !== "stuck";
  return `${on ? "On" : "Off"}${confirmed ? "" : ", not confirmed"}`;
}

function relayState(zone) {
  return STATES.get(zone.state) ?? zone.state;
}

function trustWords({ trust, alarm }) {
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
      return alarmWords(alarm);
  }
}

function alarmWords(alarm) {
  if (!alarm) return "";
  if (alarm.kind === "short_cycling") return "The cooler starts too often.";
  const beyond = alarm.kind === "high" ? "Above" : "Below";
  return `${beyond} the threshold of ${celsius(alarm.limit_tenths)}.`;
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

// A zone may have a special safe state with a relay on: then "both relays are off" is wrong.
function faultRelays(zone) {
  if (zone.cool_active || zone.heat_active) return "The relays are in the zone's safe state.";
  return zone.relays_known ? "Both relays are off." : "Both relays were commanded off.";
}

function staleWords(zone) {
  if (zone.late) return "These values are old.";
  if (zone.relaysNewer) return "No new readings are stored: the temperature is old.";
  return "No new readings: these values are old.";
}
