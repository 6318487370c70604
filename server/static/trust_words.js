// Says why the server does not trust a zone, and what the operator should check. Words with a
// temperature are functions: a person may choose another unit.

import { celsius, degrees, spread } from "./units.js";

const IN_DOUBT = new Map([
  [
    "jump",
    () => `The last reading jumped by more than ${spread(100)}: it changes no relay until the next` +
      " readings confirm it.",
  ],
  ["power_on", () => `${celsius(850)} is what a DS18B20 sensor sends right after power-on.`],
  ["implausible", "The temperature is outside the range that is plausible for this site."],
  ["late", "The device's dates are late: its readings are kept but do not control."],
  [
    "two_sources",
    "Two devices at two addresses post as this zone by turns, with different temperatures." +
      " Give each device another name.",
  ],
]);

const REFUSED = new Map([
  ["DEVICE_KEY_REQUIRED", "they come without the device's key. Give the device its key."],
  ["INVALID_DEVICE_KEY", "their key is wrong. Give the device its own, valid key."],
  ["DEVICE_MISMATCH", "their key is that of another device. Give each device its own key."],
  ["DEVICE_LIMIT", "the site has as many zones as it may have. Register the device."],
]);

const FAULTS = new Map([
  ["no_value", "Sensor fault: the device sends no temperature, its sensor may be unplugged."],
  [
    "out_of_range",
    () => `Sensor fault: the value is outside ${degrees(-550)} to ${celsius(1250)}, the sensor or its` +
      " wiring may be broken.",
  ],
  ["unreadable", "Device fault: its message could not be read."],
  ["untrusted", "Fault: no reading was believed for a minute."],
]);

export function doubtWords({ reason }) {
  return said(IN_DOUBT.get(reason)) ?? `The readings are in doubt${cause(reason)}`;
}

export function silentWords() {
  return (
    "The device has sent nothing for three of its usual periods: these values are old." +
    " Check its power and its network."
  );
}

export function stuckWords({ reason }) {
  if (reason !== "not_obeyed") return `The device does not obey${cause(reason)}`;
  return (
    "The device has said for 30\u00a0s or more that its relays are not as commanded." +
    " Check the device and its relays."
  );
}

export function refusedWords({ reason }) {
  const known = REFUSED.get(reason);
  return `The device's posts are refused${known ? `: ${known}` : cause(reason)}`;
}

/** The words for a fault that the server found in a device's reading; undefined for others. */
export function faultFound(reason) {
  return said(FAULTS.get(reason));
}

function said(words) {
  return typeof words === "function" ? words() : words;
}

// Shows a reason for which this page has no words by its name.
function cause(reason) {
  return reason ? `: ${reason}.` : ".";
}
