// The controls above the list: counts that filter, search, order, groups and view.

import { onKey } from "./keys.js";
import { SORTS } from "./listing.js";
import { prefer, preference } from "./preferences.js";

// If nobody chose, the table is shown from so many zones on, in a window of at least this width.
const TABLE_FROM = 30;
const TABLE_PX = 740;

const part = (id) => document.getElementById(id);

export class Controls {
  #filter = "all";
  #buttons = new Map();
  #list;
  #total = 0;

  constructor(list) {
    this.#list = list;
    for (const [value, words] of SORTS) part("sort").add(new Option(words, value));
    part("sort").value = SORTS.has(preference("sort")) ? preference("sort") : "problems";
    part("grouped").checked = preference("grouped") === "yes";
    part("sort").addEventListener("change", () => this.#chose("sort", part("sort").value));
    part("grouped").addEventListener("change", () =>
      this.#chose("grouped", part("grouped").checked ? "yes" : ""));
    part("search").addEventListener("input", () => this.#apply());
    part("search").addEventListener("keydown", (event) => {
      if (event.key === "Escape") part("search").value = "";
      if (event.key === "Escape") this.#apply();
    });
    for (const view of ["cards", "table"]) {
      part(`view-${view}`).addEventListener("click", () => this.#chose("view", view));
    }
    part("show-all").addEventListener("click", () => this.#showAll());
    onKey("/", "Search", () => part("search").focus());
    onKey("v", "Cards or table", () => this.#chose("view", this.#view() === "table" ? "cards" : "table"));
    onKey("p", "Only problems, or all", () => this.filter(this.#filter === "all" ? "problems" : "all"));
    this.#apply();
  }

  filter(name) {
    this.#filter = name;
    this.#apply();
  }

  /** Show the counts; `shown` is the number of zones that the list shows. */
  show({ total, filters }, shown) {
    const grew = (this.#total < TABLE_FROM) !== (total < TABLE_FROM);
    this.#total = total;
    if (grew) this.#apply();
    this.#showFilters(total === 0 ? [] : filters);
    part("loading").hidden = true;
    part("no-zones").hidden = total > 0;
    part("toolbar").hidden = total === 0;
    part("none-found").hidden = total === 0 || shown > 0;
    part("zone-table").setAttribute("aria-rowcount", shown + 1);
  }

  #showFilters(filters) {
    const wanted = new Map(filters.map((one) => [one.name, one]));
    const isSpecial = this.#filter === "problems" || wanted.has(this.#filter);
    if (filters.length && !isSpecial) {
      wanted.set(this.#filter, { name: this.#filter, words: `0 ${this.#filter}` });
    }
    for (const [name, button] of this.#buttons) {
      if (wanted.has(name)) continue;
      button.previousElementSibling?.remove();
      button.remove();
      this.#buttons.delete(name);
    }
    for (const { name, words } of wanted.values()) this.#showFilter(name, words);
  }

  #showFilter(name, words) {
    let button = this.#buttons.get(name);
    if (button === undefined) {
      button = document.createElement("button");
      button.type = "button";
      button.className = "chip";
      button.dataset.filter = name;
      button.addEventListener("click", () => this.filter(this.#filter === name ? "all" : name));
      this.#buttons.set(name, button);
    }
    if (button.textContent !== words) button.textContent = words;
    button.setAttribute("aria-pressed", String(name === this.#filter));
    this.#insert(button);
  }

  /** In the order of the filters, with a dot between two of them that only a screen reader says. */
  #insert(button) {
    const order = ["all", "cooling", "with a fault", "refused", "not obeyed", "silent"];
    const rank = ({ dataset }) => (order.indexOf(dataset.filter) + 1 || 99);
    if (button.isConnected) return;
    const summary = part("summary");
    const next = [...summary.querySelectorAll("button")].find((one) => rank(one) > rank(button));
    const dot = document.createElement("span");
    dot.className = "screen-reader-only";
    dot.textContent = " · ";
    if (next) {
      next.before(button);
      next.before(dot);
    } else {
      if (summary.firstChild) summary.append(dot);
      summary.append(button);
    }
  }

  #view() {
    const isRoomy = this.#total >= TABLE_FROM && innerWidth >= TABLE_PX;
    return preference("view") || (isRoomy ? "table" : "cards");
  }

  #chose(name, value) {
    prefer(name, value);
    this.#apply();
  }

  #showAll() {
    part("search").value = "";
    this.filter("all");
  }

  #apply() {
    const view = this.#view();
    for (const one of ["cards", "table"]) {
      part(`view-${one}`).setAttribute("aria-pressed", String(one === view));
    }
    for (const [name, button] of this.#buttons) {
      button.setAttribute("aria-pressed", String(name === this.#filter));
    }
    this.#list.choose({
      view,
      filter: this.#filter,
      search: part("search").value,
      sort: part("sort").value,
      grouped: part("grouped").checked,
    });
  }
}
