// The list of zones, as cards or as a table. It draws only what is in sight and has changed; all
// changes of a frame are drawn together.

import { Board } from "./board.js";
import { arrange, nameOrder } from "./listing.js";
import { drawSparks } from "./spark.js";
import { rowsOf, windowOf } from "./virtual.js";
import { GroupView, setAttribute, ZoneView } from "./zone_view.js";
import { announcementWords, countConditions } from "./zone_words.js";

// So many zones are drawn whole, with cards as high as their text: a page can be searched and printed.
const WHOLE_MAX = 60;
const MARGIN_PX = 400;
const CARD_REM = { width: 16, gap: 0.9, item: 22, group: 2.5 };
const ROW_REM = { item: 3.25, group: 2.25 };
const RESORT_TICKS = 5; // orders by temperature follow it this often, in seconds
const TOGETHER_MS = 200; // readings of that time are drawn together
const SPARE_MAX = 60; // views kept for other zones

const part = (id) => document.getElementById(id);

export class ZoneList {
  #zones;
  #sparks;
  #announcer;
  #onCounts;
  #choice = { filter: "all", search: "", sort: "problems", grouped: false };
  #view = "cards";
  #entries = [];
  #order = new Map();
  #board = new Board();
  #views = new Map(); // entry key: the view in the page
  #spare = []; // views of zones that are out of sight
  #opened = null; // the element of the zone whose form was opened last: a browser gives the focus back to its button
  #shown = 0; // how many zones the list shows
  #changed = new Set();
  #all = false; // whether all zones may have changed
  #chosen = true; // whether the order may have changed
  #frame = 0;
  #timer = 0;
  #hasSnapshot = false;
  #mayEdit = false;
  #layout = rowsOf([], {});
  #ticks = 0;
  #rem = 0; // in pixels, and the width of the list
  #width = 0;
  #top = 0; // where the list begins, below the top of the window

  /** `onCounts(counts, shown)` gets the counts of all zones, and how many of them are shown. */
  constructor(zones, sparks, announcer, { onCounts, onEdit }) {
    this.#zones = zones;
    this.#sparks = sparks;
    this.#announcer = announcer;
    this.#onCounts = onCounts;
    for (const list of [part("zones"), part("zone-table")]) {
      list.addEventListener("click", (event) => {
        const element = event.target.closest(".edit")?.closest(".zone");
        if (!element) return;
        this.#opened = element;
        onEdit(element.dataset.device, element);
      });
    }
    addEventListener("scroll", () => this.#plan(), { passive: true });
    addEventListener("resize", () => {
      this.#rem = 0; // the zoom changes it
      this.choose({});
    });
    document.addEventListener("visibilitychange", () => this.#plan());
  }

  mayEdit(may) {
    this.#mayEdit = may;
    this.touch();
  }

  /** Change what is shown: filter, search, sort, grouped, view. */
  choose({ view = this.#view, ...choice }) {
    Object.assign(this.#choice, choice);
    if (view !== this.#view) this.#clear();
    this.#view = view;
    this.#chosen = true;
    this.touch();
  }

  /** Draw a zone that changed; without an id draw all, and remove those that are gone. */
  touch(deviceId) {
    if (deviceId === undefined) this.#all = true;
    else this.#changed.add(deviceId);
    this.#plan();
  }

  /** Draw a zone that has a new reading, within a moment and together with others. */
  touchSoon(deviceId) {
    this.#changed.add(deviceId);
    this.#planSoon();
  }

  snapshot() {
    this.#hasSnapshot = this.#chosen = true;
    this.touch();
  }

  /** Draw the ages and what else changes with time. */
  tick() {
    if (!this.#hasSnapshot) return;
    this.#ticks += 1;
    this.#all = true;
    this.#planSoon();
  }

  #plan() {
    if (!document.hidden) this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  #planSoon() {
    this.#timer ||= setTimeout(() => this.#plan(), TOGETHER_MS);
  }

  #draw() {
    clearTimeout(this.#timer);
    this.#frame = this.#timer = 0;
    if (!this.#hasSnapshot) return;
    this.#look();
    const { changed, switched, renamed, started } = this.#board.update(
      this.#zones, this.#all ? null : this.#changed);
    for (const zone of started) this.#announce(zone);
    if (renamed) this.#order = nameOrder(this.#zones);
    const { sort, filter } = this.#choice;
    const byValue = !["problems", "name"].includes(sort) && this.#ticks % RESORT_TICKS === 0;
    const moved = changed || (switched && filter === "cooling");
    if (moved || this.#chosen || byValue) this.#arrange();
    if (moved || this.#chosen || switched) this.#count();
    this.#drawWindow();
    this.#changed.clear();
    this.#all = this.#chosen = false;
  }

  /** Read where things are before anything is changed: later a browser would lay out the page for it. */
  #look() {
    const list = part("list").getBoundingClientRect();
    [this.#top, this.#width] = [list.top, list.width];
    this.#rem ||= parseFloat(getComputedStyle(document.documentElement).fontSize);
  }

  #announce(zone) {
    const words = announcementWords(zone);
    if (words !== null) this.#announcer.say(zone.title, words);
  }

  #arrange() {
    const conditionOf = (zone) => this.#board.of(zone);
    this.#entries = arrange(this.#zones, this.#choice, this.#order, conditionOf);
    this.#layout = this.#measure();
    this.#shown = this.#entries.filter(({ zone }) => zone !== undefined).length;
  }

  #count() {
    const pairs = [...this.#zones].map((zone) => [zone, this.#board.of(zone)]);
    this.#onCounts(countConditions(pairs), this.#shown);
  }

  #measure() {
    const rem = this.#rem;
    if (this.#view === "table") {
      return rowsOf(this.#entries, {
        columns: 1,
        itemHeight: ROW_REM.item * rem,
        groupHeight: ROW_REM.group * rem,
      });
    }
    const gap = CARD_REM.gap * rem;
    const columns = Math.max(1, Math.floor((this.#width + gap) / (CARD_REM.width * rem + gap)));
    return rowsOf(this.#entries, {
      columns,
      itemHeight: CARD_REM.item * rem + gap,
      groupHeight: CARD_REM.group * rem + gap,
    });
  }

  #window() {
    if (this.#entries.length <= WHOLE_MAX) {
      return { from: 0, to: this.#entries.length, before: 0, after: 0 };
    }
    return windowOf(this.#layout, -this.#top, innerHeight - this.#top, MARGIN_PX);
  }

  #drawWindow() {
    const isTable = this.#view === "table";
    part("zones").hidden = isTable || this.#entries.length === 0;
    part("zone-table").hidden = !isTable || this.#entries.length === 0;
    part("list").dataset.virtual = String(this.#entries.length > WHOLE_MAX);
    const { from, to, before, after } = this.#window();
    const shown = this.#entries.slice(from, to);
    const list = isTable ? part("zone-rows") : part("zones");
    this.#space(isTable, before, after);
    this.#put(list, shown, from);
    const inSight = shown.filter(({ zone }) => zone).map(({ zone }) => zone.deviceId);
    this.#sparks.want(inSight);
  }

  #space(isTable, before, after) {
    const list = part("zones");
    list.style.paddingTop = isTable ? "" : `${before}px`;
    list.style.paddingBottom = isTable ? "" : `${after}px`;
    part("zone-table").style.marginTop = isTable ? `${before}px` : "";
    part("zone-table").style.marginBottom = isTable ? `${after}px` : "";
  }

  #put(list, shown, from) {
    const focused = document.activeElement;
    const keys = new Set(shown.map(({ key }) => key));
    for (const [key, view] of this.#views) {
      if (keys.has(key)) continue;
      const isKept = view instanceof ZoneView && view.element !== this.#opened &&
        !view.element.contains(focused) && this.#spare.length < SPARE_MAX;
      view.element.remove();
      this.#views.delete(key);
      if (isKept) this.#spare.push(view);
    }
    const ordinal = this.#view === "table" ? "aria-rowindex" : "aria-posinset";
    const sparks = [];
    let next = list.firstElementChild;
    for (const [index, entry] of shown.entries()) {
      const known = this.#views.get(entry.key);
      const view = known ?? this.#make(entry);
      this.#views.set(entry.key, view);
      if (view.element === next) next = next.nextElementSibling;
      else list.insertBefore(view.element, next);
      if (entry.zone === undefined) view.show(entry);
      else if (!known || this.#all || this.#changed.has(entry.zone.deviceId)) {
        sparks.push(this.#show(view, entry.zone));
      }
      setAttribute(view.element, ordinal, from + index + 1);
      if (this.#view !== "table") setAttribute(view.element, "aria-setsize", this.#entries.length);
    }
    drawSparks(sparks, this.#zones.now);
    // A browser takes the focus from an element that is moved.
    if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
  }

  #make(entry) {
    const kind = this.#view === "table" ? "row" : "card";
    const spare = entry.zone && this.#spare.pop();
    if (spare) spare.of(entry.zone.deviceId);
    return spare ?? (entry.zone === undefined
      ? new GroupView(entry, part(`group-${kind}`))
      : new ZoneView(entry.zone.deviceId, part(`zone-${kind}`)));
  }

  /** Show a zone; returns what drawSparks() is to draw. */
  #show(view, zone) {
    const isFixed = this.#entries.length > WHOLE_MAX;
    view.show(zone, this.#board.of(zone), { mayEdit: this.#mayEdit, now: this.#zones.now, isFixed });
    return { canvas: view.canvas, zone, line: this.#sparks.get(zone.deviceId) };
  }

  #clear() {
    for (const view of this.#views.values()) view.element.remove();
    this.#views.clear();
    this.#spare = [];
  }
}
