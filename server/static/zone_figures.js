// What a zone did in the span that its chart shows: figures, a table of the values, a CSV file.

import { getJson } from "./api.js";
import { finite } from "./chart_rows.js";
import { statistics, tabled } from "./chart_source.js";
import { element } from "./elements.js";
import { below } from "./root.js";
import { celsius, timeShort } from "./units.js";

const ROWS = 24;
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

function percent(share) {
  return share === null ? "–" : `${Math.round(share * 100)} %`;
}

/** Fill the table that has the chart's values for people who do not see it. */
export async function showTable(deviceId, span) {
  const series = await tabled(getJson, deviceId, span, ROWS);
  const heads = ["From", "Mean", "Least", "Most", "Cooler on", "Heat on", "Readings"];
  const head = element("tr", "", {}, heads.map((name) => element("th", name, { scope: "col" })));
  const rows = series.points.map((point) => {
    const [mean, min, max] = ["mean", "min", "max"].map((name) => finite(point[name]));
    const cells = [
      celsius(mean === null ? null : Math.round(mean)),
      celsius(min),
      celsius(max),
      percent(finite(point.cool)),
      percent(finite(point.heat)),
      String(point.count),
    ];
    return element("tr", "", {}, [
      element("th", timeShort(point.t), { scope: "row" }),
      ...cells.map((text) => element("td", text)),
    ]);
  });
  const caption = element("caption", "Values of the chart", { class: "screen-reader-only" });
  part("table").replaceChildren(
    caption, element("thead", "", {}, [head]), element("tbody", "", {}, rows));
}

export function linkFile(deviceId, span) {
  const query = new URLSearchParams({
    device_id: deviceId, start: Math.round(span.start), end: Math.round(span.end),
  });
  part("csv").href = below(`/api/telemetry/export.csv?${query}`);
}
