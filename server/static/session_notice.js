// Keeps the session of a person who uses the page, and says two minutes ahead when it ends.
//
// The server extends a session for requests that a person caused. But who only watches and points
// causes none: this asks for the session's state about once a minute while there is input.

import { onInput } from "./activity.js";
import { errorWords, getJson, goToLogin } from "./api.js";
import { timeOfDay } from "./units.js";

const EVERY_MS = 60_000;
const EVERY_ENDING_MS = 5000;
const WARN_MS = 120_000;

export class SessionNotice {
  #section = document.getElementById("session");
  #text = document.getElementById("session-text");
  #button = document.getElementById("session-stay");
  #extendable = true;
  #asked = performance.now();
  #asking = false;

  constructor() {
    this.#button.addEventListener("click", () => this.#stay());
    onInput(() => this.#keep());
  }

  /** The event `session`: {ends_at, extendable, ts}, times by the server's clock. */
  show({ ends_at: endsAt, extendable, ts }) {
    this.#extendable = extendable;
    if (endsAt - ts > WARN_MS) {
      this.hide();
      return;
    }
    const end = timeOfDay(endsAt);
    this.#text.textContent = extendable
      ? `You will be logged out at ${end}, because nobody has used this page for a while.`
      : `You will be logged out at ${end}: a log-in does not last longer.`;
    this.#button.textContent = extendable ? "Stay logged in" : "Log in again";
    this.#section.hidden = false;
  }

  hide() {
    this.#extendable = true;
    this.#section.hidden = true;
  }

  #keep() {
    const pause = this.#section.hidden ? EVERY_MS : EVERY_ENDING_MS;
    if (!this.#extendable || performance.now() - this.#asked < pause) return;
    this.#ask();
  }

  #stay() {
    if (this.#extendable) this.#ask();
    else goToLogin();
  }

  async #ask() {
    if (this.#asking) return;
    this.#asking = true;
    this.#asked = performance.now();
    const answer = await getJson("/auth/status");
    this.#asking = false;
    if (this.#section.hidden) return; // no end was shown, and the stream says when one comes
    if (answer.status === 200) {
      if (answer.body.expires_in * 1000 > WARN_MS) this.hide();
    } else if (answer.status === 400 || answer.status === 401) {
      goToLogin("ended");
    } else {
      this.#text.textContent = `You are not logged in for longer yet. ${errorWords(answer)}`;
    }
  }
}
