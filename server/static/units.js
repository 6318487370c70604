// Writes temperatures and times for people. Temperatures are always integers, in tenths of °C; a
// person may choose to see and write °F. Times are those of the site's time zone.

import { onPreference, preference } from "./preferences.js";

const DECIMAL = /^([+\-−]?)(\d{1,3})(?:[.,](\d)0*)?$/;
const tenth = new Intl.NumberFormat(undefined, {
  minimumFractionDigits: 1,
  maximumFractionDigits: 1,
  useGrouping: false,
});

let chosen = ""; // a chart asks for the unit thousands of times, and a browser's storage is slow
onPreference((name) => {
  if (name === "units") chosen = "";
});
// A page in the back/forward cache gets no event of a choice.
globalThis.addEventListener?.("pageshow", () => (chosen = ""));

/** The unit in which this person sees temperatures: "°C" or "°F". */
export function unit() {
  chosen ||= preference("units") === "F" ? "°F" : "°C";
  return chosen;
}

function shown(value) {
  return tenth.format(value).replace("-", "−");
}

/** 235 -> "23.5", -5 -> "−0.5", as the person's locale writes it; in °F -> "74.3". */
export function degrees(tenths) {
  return shown(unit() === "°F" ? tenths * 0.18 + 32 : tenths / 10);
}

/** A difference of temperatures: 10 -> "1.0", in °F "1.8". */
export function difference(tenths) {
  return shown(unit() === "°F" ? tenths * 0.18 : tenths / 10);
}

/** 235 -> "23.5 °C", with a space that does not break; null, for no temperature, -> "–". */
export function celsius(tenths) {
  return tenths === null ? "–" : `${degrees(tenths)}\u00a0${unit()}`;
}

/** The same for a difference, such as a deadband. */
export function spread(tenths) {
  return tenths === null ? "–" : `${difference(tenths)}\u00a0${unit()}`;
}

function number(text) {
  const found = DECIMAL.exec(text.trim());
  if (found === null) return null;
  const size = Number(found[2]) * 10 + Number(found[3] ?? 0);
  return found[1] === "-" || found[1] === "−" ? -size : size;
}

/**
 * "23.5" or "23,5" -> 235, in the person's unit; null unless it is a number with at most one decimal
 * digit. In °F the nearest tenth of a °C.
 */
export function tenths(text) {
  const value = number(text);
  return value === null || unit() === "°C" ? value : Math.round((value - 320) / 1.8);
}

/** The same for a difference. */
export function tenthsOfSpread(text) {
  const value = number(text);
  return value === null || unit() === "°C" ? value : Math.round(value / 1.8);
}

let zone; // the options with the site's time zone, once they are needed

/** The IANA name of the site's time zone; "" if the server does not know it. */
export function siteTimeZone() {
  return globalThis.document?.documentElement.dataset.timeZone ?? "";
}

function inZone() {
  if (zone) return zone;
  const timeZone = siteTimeZone();
  zone = {};
  try {
    if (timeZone) new Intl.DateTimeFormat(undefined, { timeZone });
    if (timeZone) zone = { timeZone };
  } catch {
    // A zone that this browser does not know: its own.
  }
  return zone;
}

const DAY = { year: "numeric", month: "numeric", day: "numeric" };
const TIME = { hour: "numeric", minute: "numeric", second: "numeric" };
const SHORT = { hour: "numeric", minute: "2-digit" };
const FORMS = {
  day: ["en", DAY],
  time: [undefined, TIME],
  dayAndTime: [undefined, { ...DAY, ...TIME }],
  short: [undefined, SHORT],
  dayAndShort: [undefined, { month: "short", day: "numeric", ...SHORT }],
  whole: [undefined, { dateStyle: "full", timeStyle: "long" }],
};
const formats = new Map(); // to make one takes a hundred times as long as to use it

function written(form, ms) {
  if (!formats.has(form)) {
    const [locale, options] = FORMS[form];
    formats.set(form, new Intl.DateTimeFormat(locale, { ...options, ...inZone() }));
  }
  return formats.get(form).format(ms);
}

function isToday(ms) {
  return written("day", ms) === written("day", Date.now());
}

/** A span of milliseconds in its largest fitting unit: "3 s", "2 min", "5 h", "3 days". */
export function span(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} days`;
}

/** Seconds to wait, rounded up so that no user tries too early: "40 seconds", "15 minutes". */
export function waitWords(seconds) {
  const [count, unit] = seconds < 90 ? [seconds, "second"] : [Math.ceil(seconds / 60), "minute"];
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}

/** A moment as the time of day, with the date if it was not today. */
export function timeOfDay(ms) {
  return written(isToday(ms) ? "time" : "dayAndTime", ms);
}

/** A moment as in timeOfDay, but without seconds and year. */
export function timeShort(ms) {
  return written(isToday(ms) ? "short" : "dayAndShort", ms);
}

/** A moment with full date, time and time zone. */
export function timeWhole(ms) {
  return written("whole", ms);
}

/**
 * Returns a function that returns the milliseconds since now, by the clock that shows more of them:
 * one clock may stand still while the machine sleeps, the other may be set back, and a time that is
 * too short would hide a fault.
 */
export function stopwatch() {
  const wall = Date.now();
  const steady = performance.now();
  return () => Math.max(Date.now() - wall, performance.now() - steady);
}
