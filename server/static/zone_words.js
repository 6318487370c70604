// A zone in words that an operator understands.

const STATES = new Map([
  ["COOLING_WITH_LEDS", "Cooling"],
  ["COOLING", "Cooling"],
  ["IDLE_WITH_LEDS", "Idle"],
  ["IDLE", "Idle"],
]);

const SENSOR_FAULT = "Sensor fault";
// Faults that the server found in what the device sent. What to look at differs.
const FAULTS = new Map([
  ["no_value", "Sensor fault: the device sends no temperature, its sensor may be unplugged."],
  [
    "out_of_range",
    "Sensor fault: the value is outside −55 to 125\u00a0°C, the sensor or its wiring may be broken.",
  ],
  ["unreadable", "Device fault: its message could not be read."],
]);
const LATE = "The device's dates are late: its readings are kept but do not control.";

/**
 * What is wrong with a zone: "new" (never heard), "well", "fault", "late", "stale" or
 * "silent fault".
 */
export function condition(zone) {
  if (zone.fault) return zone.stale ? "silent fault" : "fault";
  if (zone.late) return "late";
  if (!zone.heard) return "new";
  return zone.stale ? "stale" : "well";
}

export function stateWords(zone) {
  if (zone.fault) return faultName(zone);
  if (zone.late) return "Late dates";
  if (!zone.relaysNewer && !zone.heard) return "No reading yet";
  if (!zone.relaysNewer && zone.stale) return "Stale";
  return STATES.get(zone.state) ?? zone.state;
}

/** The new condition of a zone, as it is announced; null if it is not. */
export function newsWords(zone) {
  switch (condition(zone)) {
    case "fault":
      return faultName(zone).toLowerCase();
    case "silent fault":
      return `${faultName(zone).toLowerCase()}, no new readings`;
    case "late":
      return "the device's dates are late";
    case "stale":
      return "no new readings";
    case "well":
      return "working again";
    default:
      return null;
  }
}

/** What an operator has to know before trusting the card; empty if nothing. */
export function warningWords(zone) {
  const words = [];
  if (zone.fault) words.push(faultWords(zone), faultRelays(zone));
  if (zone.late) words.push(LATE);
  if (zone.stale) words.push(staleWords(zone));
  return words.filter(Boolean).join(" ");
}

/** A relay as it is, or as it was told to be where nobody can know. */
export function relayWords(zone, on) {
  return `${on ? "On" : "Off"}${zone.relays_known ? "" : ", not confirmed"}`;
}

function faultName(zone) {
  return zone.faultReason === "unreadable" ? "Device fault" : SENSOR_FAULT;
}

function faultWords(zone) {
  const found = FAULTS.get(zone.faultReason);
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
