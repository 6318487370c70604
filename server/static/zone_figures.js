// What a zone did in the span that its chart shows: figures, and a CSV file.

import { getJson } from "./api.js";
import { finite } from "./chart_rows.js";
import { statistics } from "./chart_source.js";
import { element } from "./elements.js";
import { below } from "./root.js";
import { celsius } from "./units.js";

const tenth = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const part = (id) => document.getElementById(id);

function hoursWords(hours) {
  if (hours === null || hours === undefined) return "–";
  const minutes = Math.round(hours * 60);
  return minutes < 120 ? `${minutes} min` : `${tenth.format(hours)} h`;
}

function times(count) {
  if (count === null || count === undefined) return "";
  return count === 1 ? ", 1 start" : `, ${count} starts`;
}

/** [name, words] of each figure. */
export function figureWords(found) {
  const mean = found.avg_temperature_by_time ?? found.avg_temperature;
  const up = found.uptime_percentage_by_time ?? found.uptime_percentage;
  return [
    ["Mean", celsius(finite(mean) === null ? null : Math.round(mean))],
    ["Least", celsius(finite(found.min_temperature))],
    ["Most", celsius(finite(found.max_temperature))],
    ["Cooler on", `${hoursWords(found.cool_hours)}${times(found.cool_starts)}`],
    ["Heat on", `${hoursWords(found.heat_hours)}${times(found.heat_starts)}`],
    ["Measured", `${tenth.format(up)} % of the time`],
    ["Readings", `${tenth.format(found.total_records)}, ${tenth.format(found.sensor_failures)} with a fault`],
  ];
}

export async function showFigures(deviceId, span) {
  const found = await statistics(getJson, deviceId, span);
  const shown = figureWords(found).map(([name, words]) =>
    element("div", "", {}, [element("dt", name), element("dd", words)]));
  part("figures").replaceChildren(...shown);
}

export function linkFile(deviceId, span) {
  const query = new URLSearchParams({
    device_id: deviceId, start: Math.round(span.start), end: Math.round(span.end),
  });
  part("csv").href = below(`/api/telemetry/export.csv?${query}`);
}
