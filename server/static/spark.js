// The last hour of a zone as a small line, with the band from setpoint to setpoint + deadband behind
// it. Only zones in sight are asked for, some at a time; readings of the stream continue the line.

import { getJson } from "./api.js";
import { ofSeries } from "./chart_rows.js";
import { onPreference } from "./preferences.js";
import { celsius, unit } from "./units.js";

const HOUR_MS = 3_600_000;
const POINTS = 60;
const AT_ONCE_MAX = 20; // zones of one request
const KEPT_MAX = 500;
const CALM_MS = 150; // while the list is scrolled, no zone is asked for
const AGAIN_MS = 15_000;

/** The lines of zones: for each a list of [Unix ms, tenths of °C or null], the oldest first. */
export class Sparks {
  #lines = new Map();
  #wanted = new Set();
  #failed = new Map(); // device id: when to ask again, by performance.now()
  #timer = 0;
  #asking = false;
  #live = false;
  #zones;
  #onLines;

  /** `zones` knows the server's time; `onLines(deviceIds)` is called when lines have come. */
  constructor(zones, onLines) {
    this.#zones = zones;
    this.#onLines = onLines;
  }

  get(deviceId) {
    return this.#lines.get(deviceId);
  }

  /** Only while the server can be reached are lines asked for. */
  setLive(live) {
    this.#live = live;
  }

  /** These zones are in sight now: ask for those that are not known, after a moment of calm. */
  want(deviceIds) {
    this.#wanted = new Set(deviceIds.filter((id) => this.#isMissing(id)));
    clearTimeout(this.#timer);
    if (this.#wanted.size > 0 && this.#live) this.#timer = setTimeout(() => this.#ask(), CALM_MS);
  }

  /** A reading of the stream. */
  add({ device_id: id, received, timestamp, temp_tenths: temp, sensor_ok: ok, present }) {
    const line = this.#lines.get(id);
    if (line === undefined || present === false) return;
    const at = received || timestamp;
    const step = HOUR_MS / POINTS;
    // A line has a point for each minute: the newest reading of a minute stands for it.
    if (line.length > 1 && at - line.at(-2)[0] < step) line.pop();
    line.push([at, ok ? temp : null]);
    while (line.length && line[0][0] < at - HOUR_MS) line.shift();
  }

  /** All lines are unknown, as after a gap of the stream. */
  clear() {
    this.#lines.clear();
    this.#failed.clear();
  }

  #isMissing(id) {
    return !this.#lines.has(id) && !(this.#failed.get(id) > performance.now());
  }

  async #ask() {
    if (this.#asking || !this.#live) return;
    const ids = [...this.#wanted].slice(0, AT_ONCE_MAX);
    if (ids.length === 0) return;
    this.#asking = true;
    const query = new URLSearchParams(ids.map((id) => ["device_id", id]));
    query.set("points", POINTS);
    query.set("start", Math.round(this.#zones.now - HOUR_MS));
    const { status, body } = await getJson(`/api/telemetry/series?${query}`);
    this.#asking = false;
    for (const id of ids) this.#wanted.delete(id);
    if (status === 200) this.#take(Array.isArray(body) ? body : [body]);
    else for (const id of ids) this.#failed.set(id, performance.now() + AGAIN_MS);
    if (status === 200) this.#onLines(ids);
    if (this.#wanted.size > 0) this.#timer = setTimeout(() => this.#ask());
  }

  #take(charts) {
    for (const chart of charts) {
      const { device_id: id } = chart;
      const line = ofSeries(chart, Infinity).rows.map(({ t, mean }) => [t, mean]);
      while (line.length && line.at(-1)[1] === null) line.pop();
      this.#lines.set(id, line);
    }
    for (const id of this.#lines.keys()) {
      if (this.#lines.size <= KEPT_MAX) break;
      this.#lines.delete(id);
    }
  }
}

let look = 0; // counts changes of the colours
let colour = { of: -1, text: "" }; // the colour of lines at a look
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (look += 1));
onPreference(() => (look += 1));

const drawn = new WeakMap(); // canvas: what it shows, so that it is not drawn twice
const jobs = new WeakMap(); // canvas: the job that it shows, or will show once it has a size
const sizes = new WeakMap(); // canvas: {width, height}; to ask the canvas would lay out the page

const observer = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) {
    sizes.set(target, contentRect);
    paint(target);
  }
});

/** The lowest and the highest temperature of a line; null if it has none. */
export function extent(line) {
  const temps = (line ?? []).map(([, temp]) => temp).filter(Number.isFinite);
  return temps.length ? [Math.min(...temps), Math.max(...temps)] : null;
}

/** Draw the lines of zones up to `now`, each a {canvas, zone, line}; without a line the canvas is empty. */
export function drawSparks(wanted, now) {
  for (const job of wanted) {
    if (!isNew(job)) continue;
    const { canvas } = job;
    jobs.set(canvas, { ...job, now });
    if (sizes.has(canvas)) paint(canvas);
    else observer.observe(canvas); // before the next picture it tells the size, and paints
  }
}

/** Note what the canvas is to show; whether it has to be painted. */
function isNew({ canvas, zone, line }) {
  const { setpoint_tenths: setpoint, deadband_tenths: deadband } = zone;
  const last = line?.at(-1) ?? [];
  const what = `${line?.length} ${last} ${setpoint} ${deadband} ${look} ${unit()} ${zone.deviceId}`;
  if (drawn.get(canvas) === what) return false;
  drawn.set(canvas, what);
  const range = extent(line);
  canvas.hidden = range === null;
  if (range === null) {
    jobs.delete(canvas);
    return false;
  }
  const [lowest, highest] = range.map((temp) => celsius(Math.round(temp)));
  canvas.setAttribute("aria-label", `Last hour: ${lowest} to ${highest}`);
  return true;
}

function colourOf(canvas) {
  if (colour.of !== look) colour = { of: look, text: getComputedStyle(canvas).color };
  return colour.text;
}

function paint(canvas) {
  const { width, height } = sizes.get(canvas);
  if (width === 0 || !jobs.has(canvas)) return; // hidden, or not in the page
  const { zone, line, now } = jobs.get(canvas);
  const color = colourOf(canvas);
  const scale = devicePixelRatio || 1;
  const context = canvas.getContext("2d");
  const whole = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== whole[0] || canvas.height !== whole[1]) [canvas.width, canvas.height] = whole;
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  const { setpoint_tenths: setpoint, deadband_tenths: deadband } = zone;
  const band = setpoint === null ? null : [setpoint, setpoint + deadband];
  const [lowest, highest] = extent(line);
  // The edge of the band that the line is nearest to is always in sight.
  const [low, high] = band ? [Math.min(lowest, band[1]), Math.max(highest, band[0])] : [lowest, highest];
  const middle = (low + high) / 2;
  const half = Math.max(high - low, 16) / 2 + 4; // at least 2 degrees high
  const y = (temp) => height - ((temp - middle + half) / (2 * half)) * height;
  const end = Math.max(line.at(-1)[0], now - 120_000);
  const x = (t) => width - 3 - ((end - t) / HOUR_MS) * (width - 3);
  if (band) {
    context.fillStyle = color;
    context.globalAlpha = 0.16;
    context.fillRect(0, y(band[1]), width, Math.max(1, y(band[0]) - y(band[1])));
    context.globalAlpha = 1;
  }
  context.strokeStyle = context.fillStyle = color;
  context.lineWidth = 1.5;
  context.lineJoin = "round";
  context.beginPath();
  let pen = false;
  for (const [t, temp] of line) {
    if (!Number.isFinite(temp)) pen = false;
    else if (pen) context.lineTo(x(t), y(temp));
    else context.moveTo(x(t), y(temp));
    if (Number.isFinite(temp)) pen = true;
  }
  context.stroke();
  const [t, temp] = line.at(-1);
  if (!Number.isFinite(temp)) return;
  context.beginPath();
  context.arc(x(t), y(temp), 2.5, 0, 7);
  context.fill();
}
