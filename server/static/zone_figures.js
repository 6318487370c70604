// What a zone did in the span that its chart shows: figures, and a CSV file.

import { getJson } from "./api.js";
import { finite } from "./chart_rows.js";
import { statistics } from "./chart_source.js";
import { element } from "./elements.js";
import { below } from "./root.js";
import { toQuery } from "./spans.js";
import { celsius } from "./units.js";

const tenth = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
let shownSpan = ""; // of the figures on the page
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
function figureWords(found) {
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

/** Show the figures of a span and link its file, unless `isStale()` says by then that another one is wanted. */
export async function showFigures(deviceId, span, isStale) {
  if (isStale()) return;
  linkFile(deviceId, span);
  const found = await statistics(getJson, deviceId, span).catch(() => null);
  const name = JSON.stringify(toQuery(span));
  // Of the same span, those of a minute ago are better than none.
  if (isStale() || (found === null && name === shownSpan)) return;
  shownSpan = name;
  const words = found ? figureWords(found) : [["Figures", "They could not be loaded."]];
  part("figures").replaceChildren(...words.map(([title, value]) =>
    element("div", "", {}, [element("dt", title), element("dd", value)])));
}

function linkFile(deviceId, span) {
  const query = new URLSearchParams({
    device_id: deviceId, start: Math.round(span.start), end: Math.round(span.end),
  });
  part("csv").href = below(`/api/telemetry/export.csv?${query}`);
}
