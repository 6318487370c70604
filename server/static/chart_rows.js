// Makes what a chart draws of what the server sends: pure. Times are Unix ms, temperatures tenths.
//
// A chart has a line (rows {t, mean, min, max}; mean null is a gap) and relay bars ({from, to,
// cool, heat}: the share of the time in which the relay was on). Every number that is not finite
// becomes null: uPlot draws a line through NaN, and nothing at all if NaN comes first.

// A reading holds for three times the usual gap, at least a minute, at most half an hour: as long
// as the server lets it hold in its sums.
const GAPS_HELD = 3;
const HOLD_MIN_MS = 60_000;
const HOLD_MAX_MS = 1_800_000;

export function finite(value) {
  return Number.isFinite(value) ? value : null;
}

/** The end of the last bucket of a series that ends until `end`: up to there it is complete. */
export function completeUntil(series, end) {
  const count = Math.floor((end - series.start) / series.step_ms);
  return series.start + Math.max(0, Math.min(count, series.points.length)) * series.step_ms;
}

/**
 * The rows and bars of the buckets that end until `until`.
 *
 * A bucket without a reading is no gap if the reading before it still holds: its relays are known
 * then. It has no row, so that the line goes through it.
 */
export function ofSeries(series, until) {
  const step = series.step_ms;
  const rows = [];
  const bars = [];
  for (const { t, count, ...point } of series.points) {
    if (t + step > until) break;
    const cool = finite(point.cool);
    if (cool !== null) bars.push({ from: t, to: t + step, cool, heat: finite(point.heat) });
    const mean = finite(point.mean);
    if (mean === null && count === 0 && cool !== null) continue;
    rows.push({ t: t + step / 2, mean, min: finite(point.min), max: finite(point.max) });
  }
  return { rows, bars };
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? 0;
}

/** How long a reading of a device with these readings holds. */
export function holdOf(readings) {
  const gaps = readings.slice(1).map(({ timestamp }, at) => timestamp - readings[at].timestamp);
  return Math.min(Math.max(GAPS_HELD * median(gaps), HOLD_MIN_MS), HOLD_MAX_MS);
}

/** The rows and bars of single readings, oldest first; `now` ends the last bar. */
export function ofReadings(readings, now, hold = holdOf(readings)) {
  const rows = [];
  const bars = [];
  readings.forEach((reading, at) => {
    const t = reading.timestamp;
    const next = readings[at + 1]?.timestamp ?? Math.max(t, now);
    const to = Math.min(next, t + hold);
    bars.push({ from: t, to, cool: Number(reading.cool_active), heat: Number(reading.heat_active) });
    const mean = reading.sensor_ok ? finite(reading.temp_tenths) : null;
    rows.push({ t, mean, min: mean, max: mean });
    if (next - t > hold) rows.push({ t: t + hold, mean: null, min: null, max: null });
  });
  return { rows, bars };
}

/** Parts one after the other, with a gap where nothing holds between the end of one and the next. */
export function joined(parts, hold) {
  const rows = [];
  const bars = [];
  for (const part of parts) {
    const [first] = part.rows;
    const last = rows.at(-1);
    const known = bars.at(-1)?.to ?? -Infinity;
    if (first && last && last.mean !== null && first.t - Math.max(known, last.t) > hold) {
      rows.push({ t: (last.t + first.t) / 2, mean: null, min: null, max: null });
    }
    rows.push(...part.rows);
    bars.push(...part.bars);
  }
  return { rows, bars };
}

/**
 * The setpoint and the deadband in force at each time; `changes` are {t, setpoint, deadband}. Before
 * the first of them none is known: the zone had sent no reading.
 */
export function bandAt(times, changes) {
  const low = [];
  const high = [];
  let next = 0;
  for (const time of times) {
    while (next < changes.length && changes[next].t <= time) next += 1;
    const now = changes[next - 1];
    low.push(now ? finite(now.setpoint) : null);
    high.push(now ? finite(now.setpoint + now.deadband) : null);
  }
  return { low, high };
}

/** All times of two charts, and the line of each at these times; null where the other has one. */
export function alignedLines(first, second) {
  const times = [...new Set([...first, ...second].map(({ t }) => t))].sort((a, b) => a - b);
  return { times, lines: [first, second].map((rows) => lineAt(times, rows)) };
}

// uPlot joins the points on both sides of `undefined`, and draws a gap at null.
function lineAt(times, rows) {
  const values = new Map(rows.map((row) => [row.t, row.mean]));
  return times.map((time) => values.get(time));
}
