// One alarm in the list of alarms. Texts are set as text, never as HTML.

import { isOpen, isShelved } from "./alarms.js";
import { commentWords, kindWords, standWords, timeWords, valueWords } from "./alarm_words.js";
import { element, show } from "./elements.js";
import { zonePage } from "./zone_view.js";

/** What a person may do with an alarm: its name and its words. */
const ACTS = [["acknowledge", "Acknowledge"], ["shelve", "Shelve"], ["unshelve", "End the shelf"], ["comment", "Comment"]];

export class AlarmRow {
  #severity = element("span", "", { class: "pill" });
  #kind = element("strong");
  #zone = element("a");
  #where = element("span", "", { class: "hint" });
  #facts = element("p", "", { class: "alarm-facts" });
  #note = element("p", "", { class: "alarm-note hint" });
  #buttons = {};

  /** `onAct(name, alarm)` is called for a button. */
  constructor({ alarm }, onAct) {
    this.alarm = alarm;
    const buttons = ACTS.map(([name, words]) => {
      const button = element("button", words, { type: "button" });
      button.addEventListener("click", () => onAct(name, this.alarm));
      this.#buttons[name] = button;
      return button;
    });
    const words = [this.#severity, " ", this.#kind, " ", this.#zone, " ", this.#where];
    this.element = element("li", "", { class: "alarm" }, [
      element("div", "", { class: "alarm-words" }, [
        element("p", "", { class: "alarm-title" }, words), this.#facts, this.#note]),
      element("div", "", { class: "actions" }, buttons),
    ]);
  }

  show({ alarm, title, location, now, mayAct }) {
    this.alarm = alarm;
    Object.assign(this.element.dataset, { severity: alarm.severity, state: alarm.state });
    show(this.#severity, alarm.severity);
    show(this.#kind, kindWords(alarm));
    show(this.#zone, title);
    this.#zone.hidden = alarm.device_id === null;
    if (alarm.device_id !== null) this.#zone.href = zonePage(alarm.device_id);
    show(this.#where, alarm.device_id === null ? "the whole site" : location);
    const facts = [valueWords(alarm), timeWords(alarm, now), standWords(alarm, now)];
    show(this.#facts, facts.filter(Boolean).join(" · "));
    const { comments } = alarm;
    show(this.#note, comments.length ? commentWords(comments.at(-1)) : "");
    this.#showButtons(alarm, title, now, mayAct);
  }

  #showButtons(alarm, title, now, mayAct) {
    const shelved = isShelved(alarm, now);
    const { length } = alarm.comments;
    const shown = {
      acknowledge: mayAct && alarm.state === "active",
      shelve: mayAct && isOpen(alarm) && !shelved,
      unshelve: mayAct && isOpen(alarm) && shelved,
      comment: mayAct || length > 0,
    };
    show(this.#buttons.comment, length ? `Comments (${length})` : "Comment");
    const had = Object.values(this.#buttons).includes(document.activeElement);
    for (const [name, button] of Object.entries(this.#buttons)) {
      button.hidden = !shown[name];
      button.setAttribute("aria-label", `${button.textContent}: ${kindWords(alarm)}, ${title}`);
    }
    if (had && document.activeElement?.hidden !== false) this.#buttons.comment.focus();
  }
}
