// Temperatures and times as people write them. Tenths of a degree stay integers all the way.

const PLACES = /^([+\-−]?)(\d{1,3})(?:[.,](\d)0*)?$/;

/** 235 -> "23.5", -5 -> "−0.5". */
export function degrees(tenths) {
  const size = Math.abs(tenths);
  return `${tenths < 0 ? "−" : ""}${Math.trunc(size / 10)}.${size % 10}`;
}

/** 235 -> "23.5 °C", in one piece: the space does not break. "–" for null, where there is none. */
export function celsius(tenths) {
  return tenths === null ? "–" : `${degrees(tenths)}\u00a0°C`;
}

/** "23.5" or "23,5" -> 235; null for what is no number with at most one decimal place. */
export function tenths(text) {
  const found = PLACES.exec(text.trim());
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

/** Seconds to wait, rounded up so that nobody tries too early: "40 seconds", "15 minutes". */
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

/** The same in short, without seconds or year. */
export function timeShort(ms) {
  const moment = new Date(ms);
  const today = moment.toDateString() === new Date().toDateString();
  const day = today ? {} : { month: "short", day: "numeric" };
  return moment.toLocaleString([], { ...day, hour: "numeric", minute: "2-digit" });
}

/** A moment with all there is to say of it. */
export function timeWhole(ms) {
  return new Date(ms).toLocaleString([], { dateStyle: "full", timeStyle: "long" });
}

/**
 * A function that tells the milliseconds since now. The larger of two clocks: one may stand still
 * while the machine sleeps, the other may be set back, and time that is not noticed hides a fault.
 */
export function stopwatch() {
  const wall = Date.now();
  const steady = performance.now();
  return () => Math.max(Date.now() - wall, performance.now() - steady);
}
