// Shows one zone as a card or as a row of the table, by a template. Names are set as text, never as
// HTML: a device may send any name.

import { below } from "./root.js";
import { celsius, span, spread, timeOfDay, timeShort, timeWhole } from "./units.js";
import { heldWords, relayWords, stateWords, warningSince, warningWords } from "./zone_words.js";

function set(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

/** Set an attribute if it is another one: also the same text makes a browser look for its styles. */
export function setAttribute(element, name, value) {
  if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/** The address of a zone's page. */
export function zonePage(deviceId) {
  return below(`/zone?${new URLSearchParams({ device_id: deviceId })}`);
}

export class ZoneView {
  #parts = {};
  #isRow;

  constructor(deviceId, template) {
    this.element = template.content.cloneNode(true).firstElementChild;
    this.#isRow = this.element.tagName === "TR";
    for (const part of this.element.querySelectorAll("[class]")) {
      this.#parts[part.classList[0]] = part;
    }
    this.of(deviceId);
  }

  /** Be the view of this zone from now on; show() is to follow. */
  of(deviceId) {
    this.element.dataset.device = deviceId;
    this.#parts.link.href = zonePage(deviceId);
  }

  /** Where the last hour is drawn, by drawSparks(). */
  get canvas() {
    return this.#parts.spark;
  }

  /** `isFixed`: all cards have one height, so that a long warning scrolls. */
  show(zone, condition, { mayEdit, now, isFixed }) {
    const parts = this.#parts;
    set(parts.link, zone.title);
    set(parts.where, zone.location);
    set(parts.state, stateWords(zone));
    set(parts.temperature, zone.hasReading ? celsius(zone.temp_tenths) : "–");
    set(parts.setpoint, celsius(zone.setpoint_tenths));
    set(parts.deadband, spread(zone.deadband_tenths));
    set(parts.cooler, relayWords(zone, zone.cool_active));
    set(parts.heat, relayWords(zone, zone.heat_active));
    set(parts.held, heldWords(zone, now));
    this.#showAge(zone);
    const warning = warningWords(zone);
    set(parts.why, warning);
    if (this.#isRow) setAttribute(parts.why, "title", warning); // a row has less room than the words need
    if (parts.warning) parts.warning.hidden = warning === "";
    if (!this.#isRow) setAttribute(parts.warning, "tabindex", isFixed ? 0 : -1); // the keyboard scrolls what has the focus
    if (parts.since) this.#showSince(warningSince(zone));
    this.#showChanged(zone);
    parts.edit.hidden = !mayEdit;
    setAttribute(parts.edit, "aria-label", `Change setpoint of ${zone.title}`);
    setAttribute(this.element, "data-condition", condition);
    setAttribute(this.element, "data-cooling", zone.cool_active);
    setAttribute(this.element, "data-measured", zone.hasReading && zone.temp_tenths !== null);
  }

  #showChanged({ setBy }) {
    const { changed } = this.#parts;
    if (!changed) return;
    set(changed, setBy ? `Set by ${setBy.name}, ${timeOfDay(setBy.timestamp)}` : "");
    changed.hidden = setBy === null;
  }

  #showSince(began) {
    const { since, began: time, lasted } = this.#parts;
    since.hidden = began === null;
    set(time, began ? timeShort(began.since) : "");
    set(lasted, began ? `, for\u00a0${span(began.ms).replace(" ", "\u00a0")}` : "");
    time.dateTime = began ? new Date(began.since).toISOString() : "";
    time.title = began ? timeWhole(began.since) : "";
  }

  #showAge(zone) {
    const { age } = this.#parts;
    // A zone whose dates are late sends newer readings, but they do not control.
    const which = zone.late ? "Last timely reading" : "Last reading";
    const words = this.#isRow ? span(zone.age) : `${which} ${span(zone.age)} ago`;
    set(age, zone.hasReading ? words : "");
    setAttribute(age, "title", zone.hasReading ? timeOfDay(zone.received) : "");
  }
}

/** The line before the zones of one location. */
export class GroupView {
  constructor({ group }, template) {
    this.element = template.content.cloneNode(true).firstElementChild;
    set(this.element.querySelector(".group-name"), group);
  }

  show({ count, problems }) {
    const words = `${count} zone${count === 1 ? "" : "s"}`;
    const attention = problems ? `, ${problems} need${problems === 1 ? "s" : ""} attention` : "";
    set(this.element.querySelector(".group-count"), words + attention);
  }
}
