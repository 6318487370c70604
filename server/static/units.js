// Writes temperatures and times for people. Temperatures are always integers, in tenths of °C.

const DECIMAL = /^([+\-−]?)(\d{1,3})(?:[.,](\d)0*)?$/;

/** 235 -> "23.5", -5 -> "−0.5". */
export function degrees(tenths) {
  const size = Math.abs(tenths);
  return `${tenths < 0 ? "−" : ""}${Math.trunc(size / 10)}.${size % 10}`;
}

/** 235 -> "23.5 °C", with a space that does not break; null, for no temperature, -> "–". */
export function celsius(tenths) {
  return tenths === null ? "–" : `${degrees(tenths)}\u00a0°C`;
}

/** "23.5" or "23,5" -> 235; null unless it is a number with at most one decimal digit. */
export function tenths(text) {
  const found = DECIMAL.exec(text.trim());
  if (found === null) return null;
  const size = Number(found[2]) * 10 + Number(found[3] ?? 0);
  return found[1] === "-" || found[1] === "−" ? -size : size;
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
  const moment = new Date(ms);
  const today = moment.toDateString() === new Date().toDateString();
  return today ? moment.toLocaleTimeString() : moment.toLocaleString();
}

/** A moment as in timeOfDay, but without seconds and year. */
export function timeShort(ms) {
  const moment = new Date(ms);
  const today = moment.toDateString() === new Date().toDateString();
  const day = today ? {} : { month: "short", day: "numeric" };
  return moment.toLocaleString([], { ...day, hour: "numeric", minute: "2-digit" });
}

/** A moment with full date, time and time zone. */
export function timeWhole(ms) {
  return new Date(ms).toLocaleString([], { dateStyle: "full", timeStyle: "long" });
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
