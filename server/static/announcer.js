// Announces changes to screen readers, a few changes in one sentence.

const ANNOUNCE_AFTER_MS = 500;
const NAMED_AT_ONCE = 3;

export class Announcer {
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
