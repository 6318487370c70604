// A long list of which only the rows in sight are in the page, all with the same height.

import { rowsOf, windowOf } from "./virtual.js";

const WHOLE_MAX = 60; // so many rows are drawn whole, as high as their text
const MARGIN_PX = 400;

export class VirtualList {
  #list;
  #make;
  #heightRem;
  #entries = [];
  #views = new Map(); // entry key: its view
  #frame = 0;

  /** `make(entry)` returns {element, show(entry)}; `heightRem()` is the height of a row. */
  constructor(list, make, heightRem) {
    this.#list = list;
    this.#make = make;
    this.#heightRem = heightRem;
    addEventListener("scroll", () => this.#plan(), { passive: true });
    addEventListener("resize", () => this.#plan());
    document.addEventListener("visibilitychange", () => this.#plan());
  }

  /** Show these entries, each with a `key`. */
  show(entries) {
    this.#entries = entries;
    this.#plan();
  }

  #plan() {
    if (!document.hidden) this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  #window() {
    const { length } = this.#entries;
    const isLong = length > WHOLE_MAX;
    this.#list.dataset.virtual = String(isLong);
    if (!isLong) return { from: 0, to: length, before: 0, after: 0 };
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const itemHeight = this.#heightRem() * rem;
    this.#list.style.setProperty("--row", `${itemHeight}px`);
    const { top } = this.#list.getBoundingClientRect();
    const layout = rowsOf(this.#entries, { columns: 1, itemHeight, groupHeight: 0 });
    return windowOf(layout, -top, innerHeight - top, MARGIN_PX);
  }

  #draw() {
    this.#frame = 0;
    const { from, to, before, after } = this.#window();
    this.#list.style.paddingTop = `${before}px`;
    this.#list.style.paddingBottom = `${after}px`;
    const shown = this.#entries.slice(from, to);
    const focused = document.activeElement;
    const keys = new Set(shown.map(({ key }) => key));
    for (const [key, view] of this.#views) {
      if (keys.has(key)) continue;
      view.element.remove();
      this.#views.delete(key);
    }
    let next = this.#list.firstElementChild;
    for (const [index, entry] of shown.entries()) {
      const view = this.#views.get(entry.key) ?? this.#make(entry);
      this.#views.set(entry.key, view);
      if (view.element === next) next = next.nextElementSibling;
      else this.#list.insertBefore(view.element, next);
      view.show(entry);
      view.element.setAttribute("aria-posinset", from + index + 1);
      view.element.setAttribute("aria-setsize", this.#entries.length);
    }
    // A browser takes the focus from an element that is moved.
    if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
  }
}
