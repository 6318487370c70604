// Which zones the overview shows, in which order and groups: pure, without page elements.

import { filterOf, isProblem, rank } from "./zone_words.js";

/** The orders to choose from; the first one is the default. */
export const SORTS = new Map([
  ["problems", "Problems first"],
  ["name", "Name"],
  ["warmest", "Warmest first"],
  ["coldest", "Coldest first"],
  ["deviation", "Farthest from the setpoint"],
]);
const NOWHERE = "No location";

const collator = new Intl.Collator(undefined, { numeric: true });

function byText(a, b) {
  return collator.compare(a, b) || (a < b ? -1 : Number(a > b));
}

/** The index of each zone in the order of names: a Map by device id. */
export function nameOrder(zones) {
  const sorted = [...zones].sort(
    (a, b) => byText(a.title, b.title) || byText(a.deviceId, b.deviceId),
  );
  return new Map(sorted.map((zone, index) => [zone.deviceId, index]));
}

/** Whether a zone's name, id or location has all words of the search. */
export function isFound(zone, search) {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return true;
  const text = `${zone.title} ${zone.deviceId} ${zone.location}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

/** Whether a filter of the counts shows a zone of this condition. */
export function passes(zone, condition, filter) {
  if (filter === "all") return true;
  if (filter === "cooling") return zone.cool_active;
  if (filter === "problems") return isProblem(condition);
  return filterOf(condition) === filter;
}

// Zones without a temperature come last in every order of temperatures.
const VALUES = {
  warmest: (zone) => -zone.temp_tenths,
  coldest: (zone) => zone.temp_tenths,
  deviation: (zone) => -Math.abs(zone.temp_tenths - zone.setpoint_tenths),
};

function sortKey(sort, conditionOf) {
  const value = VALUES[sort];
  if (sort === "problems") return (zone) => rank(conditionOf(zone));
  if (value === undefined) return () => 0;
  return (zone) => (zone.hasReading && zone.temp_tenths !== null ? value(zone) : Infinity);
}

/**
 * The zones to show, as a list of {key, zone} and, with groups, {key, group, count, problems} before
 * the zones of each location. `order` is from `nameOrder`, `conditionOf(zone)` a zone's condition.
 */
export function arrange(zones, { filter, search, sort, grouped }, order, conditionOf) {
  const key = sortKey(sort, conditionOf);
  const found = [];
  for (const zone of zones) {
    if (passes(zone, conditionOf(zone), filter) && isFound(zone, search)) {
      found.push({ key: `zone ${zone.deviceId}`, zone, by: key(zone) });
    }
  }
  found.sort(
    (a, b) =>
      // Infinity minus itself is no number.
      (a.by === b.by ? 0 : a.by - b.by) || order.get(a.zone.deviceId) - order.get(b.zone.deviceId),
  );
  return grouped ? inGroups(found, conditionOf) : found;
}

function inGroups(found, conditionOf) {
  const groups = new Map();
  for (const entry of found) {
    const group = entry.zone.location || "";
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push(entry);
  }
  // A zone without a location is after all that have one.
  const names = [...groups.keys()].sort((a, b) => (a === "") - (b === "") || byText(a, b));
  return names.flatMap((name) => {
    const entries = groups.get(name);
    const problems = entries.filter(({ zone }) => isProblem(conditionOf(zone))).length;
    const head = { key: `group ${name}`, group: name || NOWHERE, count: entries.length, problems };
    return [head, ...entries];
  });
}
