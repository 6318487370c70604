// Shows the zones as cards. Names are set as text, never as HTML: a device may send any name.

import { celsius, span, spread, timeOfDay, timeShort, timeWhole } from "./units.js";
import {
  announcementWords,
  condition,
  countZones,
  relayWords,
  stateWords,
  warningSince,
  warningWords,
} from "./zone_words.js";

const ANNOUNCE_AFTER_MS = 500;
const NAMED_AT_ONCE = 3;

const order = new Intl.Collator(undefined, { numeric: true }).compare;

function compare(a, b) {
  return order(a, b) || (a < b ? -1 : Number(a > b));
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

class Card {
  #parts = {};
  #condition = null;

  constructor(deviceId, template, mayEdit) {
    this.deviceId = deviceId;
    this.element = template.content.cloneNode(true).firstElementChild;
    for (const part of this.element.querySelectorAll("[class]")) {
      this.#parts[part.classList[0]] = part;
    }
    this.element.dataset.device = deviceId;
    set(this.#parts.name, deviceId);
    this.#parts.edit.setAttribute("aria-label", `Change setpoint of ${deviceId}`);
    this.mayEdit(mayEdit);
  }

  mayEdit(may) {
    this.#parts.edit.hidden = !may;
  }

  /** Show the zone; returns its condition in words if that changed since it was last shown. */
  show(zone) {
    const parts = this.#parts;
    const now = condition(zone);
    set(parts.state, stateWords(zone));
    set(parts.temperature, zone.hasReading ? celsius(zone.temp_tenths) : "–");
    set(parts.setpoint, celsius(zone.setpoint_tenths));
    set(parts.deadband, spread(zone.deadband_tenths));
    set(parts.cooler, relayWords(zone, zone.cool_active));
    set(parts.heat, relayWords(zone, zone.heat_active));
    this.#showAge(zone);
    const warning = warningWords(zone);
    set(parts.why, warning);
    parts.warning.hidden = warning === "";
    this.#showSince(warningSince(zone));
    const { setBy } = zone;
    set(parts.changed, setBy ? `Set by ${setBy.name}, ${timeOfDay(setBy.timestamp)}` : "");
    parts.changed.hidden = setBy === null;
    this.element.dataset.condition = now;
    this.element.dataset.cooling = String(zone.cool_active);
    this.element.dataset.measured = String(zone.hasReading && zone.temp_tenths !== null);
    const before = this.#condition;
    this.#condition = now;
    return before === null || before === now ? null : announcementWords(zone);
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
    set(age, zone.hasReading ? `${which} ${span(zone.age)} ago` : "");
    age.title = zone.hasReading ? timeOfDay(zone.received) : "";
  }
}

/** Announces changes to screen readers, a few changes in one sentence. */
class Announcer {
  #element;
  #announcements = new Map();
  #timer = 0;

  constructor(element) {
    this.#element = element;
  }

  say(subject, what) {
    this.#announcements.set(subject, what);
    this.#timer ||= setTimeout(() => this.#announce(), ANNOUNCE_AFTER_MS);
  }

  #announce() {
    const sentences = [...this.#announcements].map(([subject, what]) => `${subject}: ${what}.`);
    const { length } = sentences;
    const text = length > NAMED_AT_ONCE ? `${length} zones changed.` : sentences.join(" ");
    this.#element.textContent = text;
    this.#announcements.clear();
    this.#timer = 0;
  }
}

/** Keeps the list of cards equal to the zones; all changes of a frame are drawn together. */
export class Cards {
  #zones;
  #list = document.getElementById("zones");
  #empty = document.getElementById("no-zones");
  #summary = document.getElementById("summary");
  #template = document.getElementById("zone-card");
  #announcer = new Announcer(document.getElementById("announcer"));
  #cards = new Map();
  #order = [];
  #changed = new Set();
  #frame = 0;
  #hasSnapshot = false; // whether the server has sent the list of zones
  #mayEdit = false;
  #onList;

  /** `onList(deviceIds)` is called when zones come or go, `onEdit(deviceId)` by the button. */
  constructor(zones, { onList, onEdit }) {
    this.#zones = zones;
    this.#onList = onList;
    this.#list.addEventListener("click", (event) => {
      const card = event.target.closest(".edit")?.closest(".zone");
      if (card) onEdit(card.dataset.device);
    });
  }

  mayEdit(may) {
    this.#mayEdit = may;
    for (const card of this.#cards.values()) card.mayEdit(may);
  }

  announce(subject, what) {
    this.#announcer.say(subject, what);
  }

  /** Redraw a zone that changed; without an id redraw all, and remove those that are gone. */
  touch(deviceId) {
    if (deviceId === undefined) {
      this.#hasSnapshot = true;
      for (const id of this.#order) this.#changed.add(id);
      for (const zone of this.#zones) this.#changed.add(zone.deviceId);
    } else {
      this.#changed.add(deviceId);
    }
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  /** Redraw the ages, which change with time. */
  tick() {
    if (this.#hasSnapshot) this.touch();
  }

  #draw() {
    this.#frame = 0;
    const count = this.#order.length;
    let listChanged = false;
    for (const id of this.#changed) {
      const zone = this.#zones.get(id);
      const known = this.#cards.get(id);
      if (zone === undefined) {
        listChanged ||= known !== undefined;
        this.#remove(id);
      } else {
        listChanged ||= known === undefined;
        const announcement = (known ?? this.#add(id)).show(zone);
        if (announcement !== null) this.announce(id, announcement);
      }
    }
    this.#changed.clear();
    this.#empty.hidden = !this.#hasSnapshot || this.#order.length > 0;
    this.#summarise();
    if (listChanged || (count === 0 && this.#hasSnapshot)) this.#onList(this.#order);
  }

  #add(id) {
    const card = new Card(id, this.#template, this.#mayEdit);
    let low = 0;
    let high = this.#order.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (compare(this.#order[middle], id) < 0) low = middle + 1;
      else high = middle;
    }
    const next = this.#cards.get(this.#order[low]);
    this.#list.insertBefore(card.element, next?.element ?? null);
    this.#order.splice(low, 0, id);
    this.#cards.set(id, card);
    return card;
  }

  #remove(id) {
    this.#cards.get(id)?.element.remove();
    this.#cards.delete(id);
    this.#order = this.#order.filter((other) => other !== id);
  }

  #summarise() {
    const { total, words } = countZones(this.#zones);
    set(this.#summary, this.#hasSnapshot && total > 0 ? words : "");
  }
}
