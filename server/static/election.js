// Chooses one of several pages to lead, by messages that all of them get; pure, with the time as an
// argument. Used where a browser has no SharedWorker: Web Locks exist in secure contexts only.
//
// A leader beats. A page that gets no beat asks, since a hidden page's timers may be slow but its
// messages are not; without an answer it leads. Each new lead has a higher term. Of two leaders the
// one with the higher term stays, of two with the same term the one with the lower id: a page that
// was frozen finds itself outvoted.

export const BEAT_MS = 1000;
export const ASK_AFTER_MS = 3000;
export const ANSWER_WITHIN_MS = 1000;
const FIRST_WAIT_MS = 300;

export class Election {
  #id;
  #send;
  #onLead;
  #onFollow;
  #term = 0;
  #leader = null; // the id of the leader that is known
  #leaderBeatAt;
  #askedAt;
  #beatAt = -Infinity;

  /**
   * `send(message)` reaches all other pages. `onLead()` is called when this page becomes the leader,
   * `onFollow(leader)` when another one is, also after this one led. All times are ms of one clock.
   */
  constructor(id, now, { send, onLead, onFollow }) {
    this.#id = id;
    this.#send = send;
    this.#onLead = onLead;
    this.#onFollow = onFollow;
    // The first question waits shorter: a page that is opened alone is to be live at once.
    this.#leaderBeatAt = now - ASK_AFTER_MS;
    this.#askedAt = now - ANSWER_WITHIN_MS + FIRST_WAIT_MS;
    this.#send({ ask: this.#id });
  }

  get leads() {
    return this.#leader === this.#id;
  }

  get leader() {
    return this.#leader;
  }

  /** Call this about each 100 ms while nobody leads, and at least each second otherwise. */
  tick(now) {
    if (this.leads) {
      if (now - this.#beatAt >= BEAT_MS) this.#beat(now);
    } else if (now - this.#leaderBeatAt >= ASK_AFTER_MS) {
      if (this.#askedAt === null) {
        this.#askedAt = now;
        this.#send({ ask: this.#id });
      } else if (now - this.#askedAt >= ANSWER_WITHIN_MS) {
        this.#lead(now);
      }
    }
  }

  /** Take a message of another page; others than those of the election are ignored. */
  take(message, now) {
    if (message.ask !== undefined && this.leads) this.#beat(now);
    if (message.gone !== undefined && message.gone === this.#leader) this.#leaderBeatAt = -Infinity;
    if (message.beat === undefined) return;
    const { beat: id, term } = message;
    const outranks = term > this.#term || (term === this.#term && id <= (this.#leader ?? id));
    if (!outranks) {
      if (this.leads) this.#beat(now); // the other one is to step down
      return;
    }
    this.#leaderBeatAt = now;
    this.#askedAt = null;
    this.#term = term;
    if (id === this.#leader) return;
    this.#leader = id;
    this.#onFollow(id);
  }

  /** This page goes: another one takes over at once. */
  resign() {
    if (this.leads) this.#send({ gone: this.#id });
    this.#leader = null;
  }

  #lead(now) {
    this.#term += 1;
    this.#leader = this.#id;
    this.#askedAt = null;
    this.#beat(now);
    this.#onLead();
  }

  #beat(now) {
    this.#beatAt = now;
    this.#send({ beat: this.#id, term: this.#term });
  }
}
