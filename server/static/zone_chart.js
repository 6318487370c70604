// Draws the chart of a zone with uPlot: temperature, its extremes, the setpoint band, the relays.

import { axisTimes } from "./axis_times.js";
import { alignedLines } from "./chart_rows.js";
import { colour, faded } from "./colours.js";
import { RelayLanes } from "./relay_lanes.js";
import { siteTimeZone, unit } from "./units.js";

const { uPlot } = globalThis;
const HEIGHT = 320;
const HEIGHT_SMALL = 240;
const SMALL = 480;
const LEAST_RANGE = 2; // degrees: less would show the sensor's noise as a storm

function inUnit(tenths) {
  if (tenths === null || tenths === undefined) return tenths;
  return unit() === "°F" ? tenths * 0.18 + 32 : tenths / 10;
}

/** The columns for uPlot: times, mean, max, min, upper and lower end of the band, other zone. */
export function columns(rows, bandOf, otherRows) {
  const { times, lines } = alignedLines(rows, otherRows);
  const byTime = new Map(rows.map((row) => [row.t, row]));
  const values = (pick) => times.map((t) => (byTime.has(t) ? pick(byTime.get(t)) : undefined));
  const { low, high } = bandOf(times);
  const all = [lines[0], values((row) => row.max), values((row) => row.min), high, low, lines[1]];
  return [times, ...all.map((column) => column.map(inUnit))];
}

export class ZoneChart {
  #box;
  #plot = null;
  #lanes;
  #span = { start: 0, end: 1 };
  #columns = [[], [], [], [], [], [], []];
  #bars = [];
  #marks = []; // when alarms began, Unix ms
  #on;
  #width = 0; // as the observer saw it: to ask the box would lay out the page

  /** `onSelect(start, end)`: a part was marked; `onPoint(index, columns)`: the pointer is there. */
  constructor(box, lanes, { onSelect, onPoint }) {
    this.#box = box;
    this.#lanes = new RelayLanes(lanes);
    this.#on = { onSelect, onPoint };
    new ResizeObserver(() => this.#resize()).observe(box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.restyle());
    new MutationObserver(() => this.restyle()).observe(document.documentElement, {
      attributeFilter: ["data-theme"],
    });
  }

  get width() {
    this.#width ||= this.#box.clientWidth;
    return this.#width;
  }

  /** The time at a place of the page, in pixels from its left; null beside the plot. */
  timeAt(clientX) {
    if (this.#plot === null) return null;
    const { left, width } = this.#plot.over.getBoundingClientRect();
    const share = (clientX - left) / width;
    if (share < 0 || share > 1) return null;
    return this.#span.start + share * (this.#span.end - this.#span.start);
  }

  show(span, data, bars) {
    this.#span = span;
    this.#columns = data;
    this.#bars = bars;
    if (this.#plot === null) this.#build();
    else this.#plot.setData(data);
    this.#drawLanes();
  }

  /** Mark these moments: alarms began there. */
  mark(times) {
    this.#marks = times;
    this.#plot?.redraw(false);
  }

  #drawMarks(plot) {
    const { ctx, bbox } = plot;
    const size = 5 * devicePixelRatio;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = colour("--bad");
    ctx.setLineDash([2, 3].map((part) => part * devicePixelRatio));
    for (const time of this.#marks) {
      if (time < this.#span.start || time > this.#span.end) continue;
      const x = plot.valToPos(time, "x", true);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.beginPath();
      ctx.moveTo(x - size, bbox.top);
      ctx.lineTo(x + size, bbox.top);
      ctx.lineTo(x, bbox.top + 2 * size);
      ctx.fill();
    }
    ctx.restore();
  }

  /** Draw again with the colours and the unit of now. */
  restyle() {
    if (this.#plot === null) return;
    this.#plot.destroy();
    this.#build();
    this.#drawLanes();
  }

  #drawLanes() {
    const { left, width } = this.#plot.bbox;
    const ratio = devicePixelRatio;
    this.#lanes.draw(this.#span, this.#bars, left / ratio, width / ratio, this.width);
  }

  #resize() {
    this.#width = this.#box.clientWidth;
    if (this.#plot === null || this.width === 0) return;
    this.#plot.setSize({ width: this.width, height: this.#height });
    this.#drawLanes();
  }

  get #height() {
    return this.width < SMALL ? HEIGHT_SMALL : HEIGHT;
  }

  #build() {
    this.#plot = new uPlot(this.#options(), this.#columns, this.#box);
    this.#plot.root.setAttribute("aria-hidden", "true");
  }

  #options() {
    const timeZone = siteTimeZone();
    const { onPoint } = this.#on;
    return {
      width: this.width,
      height: this.#height,
      ms: 1,
      tzDate: (ms) => (timeZone ? uPlot.tzDate(new Date(ms), timeZone) : new Date(ms)),
      legend: { show: false },
      cursor: { drag: { x: true, y: false, setScale: false }, points: { size: 7 } },
      scales: {
        x: { range: () => [this.#span.start, this.#span.end] },
        y: { range: (_, low, high) => padded(low, high) },
      },
      ...this.#looks(),
      hooks: {
        draw: [(plot) => this.#drawMarks(plot)],
        setCursor: [(plot) => onPoint(plot.cursor.idx, this.#columns)],
        setSelect: [(plot) => this.#selected(plot)],
      },
    };
  }

  #selected(plot) {
    const { left, width } = plot.select;
    if (width < 4) return;
    const [start, end] = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.#on.onSelect(start, end);
  }

  #looks() {
    const [text, line, accent] = ["--soft", "--line", "--accent"].map(colour);
    const [band, other] = ["--good", "--heat"].map(colour);
    const labels = axisTimes(siteTimeZone());
    const axis = {
      stroke: text,
      font: "12px system-ui, sans-serif",
      grid: { stroke: line, width: 1 },
      ticks: { stroke: line, width: 1, size: 4 },
    };
    const edge = { stroke: faded(band, 0.8), width: 1, dash: [4, 3], points: { show: false } };
    const stepped = { ...edge, paths: uPlot.paths.stepped({ align: 1 }) };
    const bare = { stroke: "transparent", width: 0, points: { show: false } };
    return {
      axes: [{ ...axis, values: (_, splits, __, ___, step) => labels(splits, step) },
        { ...axis, size: 52 }],
      series: [
        {},
        { stroke: accent, width: 2, points: { show: alone, size: 5, fill: accent } },
        bare,
        bare,
        stepped,
        stepped,
        { stroke: other, width: 2, dash: [8, 4], points: { show: false } },
      ],
      bands: [
        { series: [2, 3], fill: faded(accent, 0.22) },
        { series: [4, 5], fill: faded(band, 0.13) },
      ],
    };
  }
}

/** Show points only where there are so few that a line could be invisible. */
function alone(plot, _series, first, last) {
  return last - first < plot.width / 20;
}

function padded(low, high) {
  if (low === null || high === null || low === undefined) return [15, 30].map((v) => inUnit(v * 10));
  const missing = Math.max(0, LEAST_RANGE - (high - low)) / 2;
  const room = (high - low + 2 * missing) * 0.06;
  return [low - missing - room, high + missing + room];
}
