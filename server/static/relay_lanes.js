// RelayLanes: below the chart, when cooler and heat were on. A lane is empty where nothing is known.

import { colour } from "./colours.js";

const LANES = [
  { name: "Cooler", share: "cool", token: "--cool" },
  { name: "Heat", share: "heat", token: "--heat" },
];
const HEIGHT = 22;
const BAR = 10;

/** Bars that follow each other with the same share, as one: seams would show as stripes. */
export function merged(bars, share) {
  const found = [];
  for (const { from, to, [share]: value } of bars) {
    const last = found.at(-1);
    if (value === null) continue;
    if (last && last.value === value && from - last.to <= 1) last.to = to;
    else found.push({ from, to, value });
  }
  return found;
}

export class RelayLanes {
  #canvas;

  constructor(canvas) {
    this.#canvas = canvas;
  }

  /** `left` and `width` are those of the plot, `whole` is the width of chart and axis, in pixels. */
  draw(span, bars, left, width, whole) {
    const ratio = devicePixelRatio;
    const canvas = this.#canvas;
    const height = LANES.length * HEIGHT;
    canvas.width = Math.round(whole * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${whole}px`;
    canvas.style.height = `${height}px`;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const text = colour("--soft");
    // Whole pixels: bars side by side must not shine through each other.
    const x = (time) => {
      const within = Math.min(Math.max(time, span.start), span.end);
      const share = (within - span.start) / (span.end - span.start);
      return Math.round((left + share * width) * ratio) / ratio;
    };
    LANES.forEach((lane, at) => {
      const top = at * HEIGHT + (HEIGHT - BAR) / 2;
      pen.globalAlpha = 1;
      pen.font = "12px system-ui, sans-serif";
      pen.textAlign = "right";
      pen.textBaseline = "middle";
      pen.fillStyle = text;
      pen.fillText(lane.name, left - 6, top + BAR / 2);
      const on = colour(lane.token);
      for (const { from, to, value } of merged(bars, lane.share)) {
        if (to <= span.start || from >= span.end) continue;
        const wide = Math.max(x(to) - x(from), 1 / ratio);
        pen.globalAlpha = value === 0 ? 0.35 : 0.2 + 0.6 * value;
        pen.fillStyle = value === 0 ? text : on;
        pen.fillRect(x(from), value === 0 ? top + BAR - 1 : top, wide, value === 0 ? 1 : BAR);
      }
    });
  }
}
