// Gets what a chart shows: buckets for the past, finer ones after them, single readings at the end.

import { completeUntil, holdOf, joined, ofReadings, ofSeries } from "./chart_rows.js";

const SETTLED_MS = 60_000; // a reading of now may be stored a little later
const SINGLE_MAX_MS = 1_800_000; // the longest span of which single readings are shown
const WINDOW_MAX = 10_000;
const FINE_POINTS = 240;

/** What was asked for could not be had; `answer` is that of the request. */
export class NotLoaded extends Error {
  constructor(answer) {
    super(`status ${answer.status}`);
    this.answer = answer;
  }
}

async function got(getJson, path, query) {
  const answer = await getJson(`${path}?${new URLSearchParams(query)}`, 30_000);
  if (answer.status !== 200) throw new NotLoaded(answer);
  return answer.body;
}

function series(getJson, deviceId, start, end, points) {
  const query = { device_id: deviceId, start: Math.round(start), end: Math.round(end), points };
  return got(getJson, "/api/telemetry/series", query);
}

/**
 * The past of a zone: {parts, cut, readings}. The parts go to before `cut`; `readings` are those
 * from `cut` on, oldest first, and empty for a span that ended long ago. Raises NotLoaded.
 */
export async function past(getJson, deviceId, span, now, points) {
  const settled = now - SETTLED_MS;
  const coarse = await series(getJson, deviceId, span.start, span.end, points);
  if (span.end < settled) {
    // A span may end in the middle of a bucket.
    return { parts: [ofSeries(coarse, Infinity)], cut: Infinity, readings: [] };
  }
  const parts = [];
  let cut = completeUntil(coarse, settled);
  parts.push(ofSeries(coarse, cut));
  if (settled - cut > SINGLE_MAX_MS) {
    const fine = await series(getJson, deviceId, cut, settled, FINE_POINTS);
    cut = completeUntil(fine, settled);
    parts.push(ofSeries(fine, cut));
  }
  const query = { device_id: deviceId, start: cut, limit: WINDOW_MAX };
  const readings = await got(getJson, "/api/telemetry/window", query);
  return { parts, cut, readings: readings.reverse() };
}

/** The rows and bars of a zone's past with the readings that the tail has now. */
export function drawn({ parts }, readings, now) {
  const hold = holdOf(readings);
  return joined([...parts, ofReadings(readings, now, hold)], hold);
}

/** The setpoints in force in a span, oldest first: {t, setpoint, deadband}. Raises NotLoaded. */
export async function setpoints(getJson, deviceId, span) {
  const query = { device_id: deviceId, start: Math.round(span.start), end: Math.round(span.end) };
  const { changes } = await got(getJson, "/api/telemetry/setpoints", query);
  return changes.map(({ t, setpoint_tenths: setpoint, deadband_tenths: deadband }) => (
    { t, setpoint, deadband }));
}

/** The figures of a span, as GET /api/telemetry/statistics has them. Raises NotLoaded. */
export function statistics(getJson, deviceId, span) {
  const query = { device_id: deviceId, start: Math.round(span.start), end: Math.round(span.end) };
  return got(getJson, "/api/telemetry/statistics", query);
}

/** The chart's values as rows of a table: at most `points` buckets. Raises NotLoaded. */
export async function tabled(getJson, deviceId, span, points) {
  return series(getJson, deviceId, span.start, span.end, points);
}
