// The values of a zone's chart as a table, for people who do not see it; loaded when it is opened.

import { getJson } from "./api.js";
import { finite } from "./chart_rows.js";
import { tabled } from "./chart_source.js";
import { element } from "./elements.js";
import { toQuery } from "./spans.js";
import { celsius, timeShort } from "./units.js";

const ROWS = 24;
let shownSpan = ""; // of the table on the page
const part = (id) => document.getElementById(id);

function percent(share) {
  return share === null ? "–" : `${Math.round(share * 100)} %`;
}

/** Show the values of a span, unless `isStale()` says by then that another one is wanted. */
export async function showTable(deviceId, span, isStale) {
  const series = await tabled(getJson, deviceId, span, ROWS).catch(() => null);
  const name = JSON.stringify(toQuery(span));
  if (isStale() || (series === null && name === shownSpan)) return;
  shownSpan = name;
  if (series !== null) showRows(series);
  else part("table").replaceChildren(element("caption", "The values could not be loaded."));
}

function showRows(series) {
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
