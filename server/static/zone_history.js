// ZoneHistory: which span the chart shows, and that it has its data.

import { errorWords, getJson } from "./api.js";
import { NotLoaded } from "./chart_source.js";
import { say, show } from "./elements.js";
import * as spans from "./spans.js";
import { span as spanWords, timeShort } from "./units.js";
import { columns, ZoneChart } from "./zone_chart.js";
import { ZoneTrack } from "./zone_track.js";

const part = (id) => document.getElementById(id);
const SETTLE_MS = 100; // a change of the span that follows another one so soon waits for the last one
const REDRAW_MS = 1000;
const POINTS_MIN = 200;
const POINTS_MAX = 1200;

export class ZoneHistory {
  #track;
  #other = null;
  #span;
  #chart;
  #clock = { ts: Date.now(), at: performance.now() };
  #wanted = 0; // counts spans, so that answers for older ones are ignored
  #loading = 0; // how many answers are awaited
  #changedAt = -Infinity; // by performance.now()
  #timer = 0;
  #onGo;
  #onSpan;

  /** `onGo(span)` is called when another span is chosen, `onSpan(span)` when it is loaded, or cannot be. */
  constructor(deviceId, query, onGo, onSpan) {
    this.#onGo = onGo;
    this.#track = new ZoneTrack(deviceId, getJson);
    this.#span = spans.fromQuery(query, this.now);
    this.#onSpan = onSpan;
    this.#chart = new ZoneChart(part("chart"), part("lanes"), {
      onSelect: (start, end) => this.go(spans.between(start, end, this.now)),
      onPoint: (index, data) => this.#showPoint(index, data),
    });
    setInterval(() => this.#tick(), REDRAW_MS);
  }

  get now() {
    return Math.round(this.#clock.ts + performance.now() - this.#clock.at);
  }

  get span() {
    return spans.moved(this.#span, this.now);
  }

  setClock(ts) {
    this.#clock = { ts, at: performance.now() };
  }

  /** Show another span: at once with what is there, then with what is loaded for it. */
  go(span) {
    this.#span = span;
    this.#onGo(span);
    this.#draw();
    this.load();
  }

  choose(length) {
    this.go(spans.latest(length, this.now));
  }

  pan(share) {
    this.go(spans.panned(this.span, share, this.now));
  }

  zoom(factor, clientX = null) {
    const at = clientX === null ? null : this.#chart.timeAt(clientX);
    this.go(spans.zoomed(this.span, factor, this.now, at));
  }

  /** Lay another zone over this one; none for "". */
  compare(deviceId) {
    this.#other = deviceId ? new ZoneTrack(deviceId, getJson) : null;
    this.load();
  }

  take(name, data) {
    for (const track of this.#tracks) track.take(name, data);
  }

  /** Mark the moments in the chart at which alarms began. */
  mark(times) {
    part("key-alarm").hidden = times.length === 0;
    this.#chart.mark(times);
  }

  restyle() {
    this.#draw();
    this.#chart.restyle();
  }

  get #tracks() {
    return this.#other === null ? [this.#track] : [this.#track, this.#other];
  }

  load() {
    if (this.#track.deviceId === "") return;
    clearTimeout(this.#timer);
    this.#wanted += 1;
    const isAlone = performance.now() - this.#changedAt > SETTLE_MS;
    this.#changedAt = performance.now();
    if (isAlone) this.#load(this.#wanted);
    else this.#timer = setTimeout(() => this.#load(this.#wanted), SETTLE_MS);
  }

  async #load(round) {
    const span = this.span;
    const points = Math.round(Math.min(Math.max(this.#chart.width / 1.5, POINTS_MIN), POINTS_MAX));
    const isStale = () => round !== this.#wanted;
    this.#loading += 1;
    if (!this.#track.loaded) this.#showEmpty("Loading…");
    try {
      await Promise.all(
        this.#tracks.map((track) => track.load(span, this.now, points, isStale)));
    } catch (error) {
      if (!(error instanceof NotLoaded)) throw error;
      if (isStale()) return;
      this.#showFailure(error.answer);
      this.#onSpan(span);
      return;
    } finally {
      this.#loading -= 1;
    }
    if (isStale()) return;
    say(part("chart-message"), "");
    this.#draw();
    this.#onSpan(span);
    await Promise.all(this.#tracks.map((track) => track.bandLoaded));
    if (!isStale()) this.#draw();
  }

  #showFailure(answer) {
    const tooMany = answer.body.code === "TOO_MANY_READINGS";
    const words = tooMany ? "Choose a shorter span." : errorWords(answer);
    say(part("chart-message"), `The history could not be loaded. ${words}`, "error");
    if (!this.#track.loaded) this.#showEmpty("");
    if (!tooMany) this.#timer = setTimeout(() => this.#load(this.#wanted), 10_000);
  }

  #tick() {
    if (document.hidden || !this.#track.loaded) return;
    const now = this.now;
    if (this.#loading === 0 && this.#tracks.some((one) => one.isDue(this.span, now))) this.load();
    if (this.#span.follows) this.#draw();
  }

  #draw() {
    const span = this.span;
    this.#showSpan(span);
    if (!this.#track.loaded || this.#chart.width === 0) return;
    const own = this.#track.drawn(this.now);
    const other = this.#other?.loaded ? this.#other.drawn(this.now).rows : [];
    const data = columns(own.rows, (times) => this.#track.band(times), other);
    const isEmpty = !own.rows.some(({ t, mean }) => mean !== null && t >= span.start && t <= span.end);
    this.#showEmpty(isEmpty && other.length === 0 ? "No temperature was measured in this span." : "");
    this.#chart.show(span, data, own.bars);
  }

  #showEmpty(words) {
    part("chart-empty").hidden = words === "";
    show(part("chart-empty"), words);
  }

  #showSpan({ start, end, length, follows }) {
    const choice = spans.CHOICES.find((one) => one.length === length);
    show(part("span-words"), follows
      ? `The last ${choice?.name.replace("1 ", "") ?? spanWords(length)}`
      : `${timeShort(start)} to ${timeShort(end)}`);
    for (const button of part("spans").children) {
      const isChosen = follows && Number(button.dataset.length) === length;
      button.setAttribute("aria-pressed", String(isChosen));
    }
    part("later").disabled = part("to-now").disabled = follows;
  }

  #showPoint(index, [times, means, , , highs, lows, others]) {
    const time = index === null || index === undefined ? null : times[index];
    if (time === null || time === undefined) {
      show(part("readout"), "");
      return;
    }
    const words = [timeShort(time)];
    const shown = (value) => value.toFixed(1).replace("-", "−");
    if (Number.isFinite(means[index])) words.push(`${shown(means[index])}°`);
    if (Number.isFinite(lows[index])) words.push(`band ${shown(lows[index])}° to ${shown(highs[index])}°`);
    if (Number.isFinite(others[index])) words.push(`other zone ${shown(others[index])}°`);
    show(part("readout"), words.join(" · "));
  }
}
