// One live stream for several pages: in a SharedWorker, or in the page that leads the others.
//
// A member is a page, known by its `send(message)`. Messages to members, all small and plain:
//
//   {events: [[name, text], …], id}   events of the stream with their JSON, and the last event id
//   {state, lastContact, reason}      the connection, as stream.js says it
//   {session}                         who is logged in, as askSession() answered
//   {ping: true}                      answer with {pong: true}, or be forgotten

import { Alarms } from "./alarms.js";
import { below } from "./root.js";
import { LiveStream } from "./stream.js";
import { Zones } from "./zones.js";

const FLUSH_MS = 10; // events that come together are sent together
const PING_MS = 5000;
const FORGET_MS = 20_000;

export class StreamHub {
  #members = new Map(); // send: when the member answered last
  #zones = new Zones();
  #alarms = new Alarms();
  #stream;
  #state = { state: "connecting", lastContact: 0, reason: "" };
  #hello = null;
  #session = null; // the last event about the session's end, for pages that join later
  #hasSnapshot = false;
  #waiting = [];
  #timer = 0;
  #isOpen = false;
  #pings;

  /** `ask` is askSession() of api.js. `lastId` is the last event id that any page remembers. */
  constructor(ask, lastId = "") {
    this.#stream = new LiveStream(below("/api/sse/telemetry"), {
      lastId,
      onEvent: (name, data, text) => this.#take(name, data, text),
      onState: (state, lastContact, reason) => {
        this.#state = { state, lastContact, reason };
        this.#zones.setLive(state === "live");
        this.#notify(this.#state);
      },
      askSession: async () => {
        const session = await ask();
        this.#notify({ session });
        return session;
      },
    });
    this.#pings = setInterval(() => this.#ping(), PING_MS);
  }

  get size() {
    return this.#members.size;
  }

  /** A page joins; `isSure` says that it cannot go unnoticed. */
  join(send, { isSure = false } = {}) {
    this.#members.set(send, isSure ? Infinity : performance.now());
    this.welcome(send);
    if (!this.#isOpen) this.#stream.start();
    this.#isOpen = true;
  }

  /** Tell a page the state, and the zones as they are now if they are known. */
  welcome(send) {
    if (this.#hasSnapshot) {
      this.#flush();
      send({ events: this.#snapshot(), id: this.#stream.lastId });
    }
    send(this.#state);
  }

  /** A page goes, or does not answer; the stream of nobody is closed. */
  leave(send) {
    this.#members.delete(send);
    if (this.#members.size > 0 || !this.#isOpen) return;
    this.#stream.stop();
    this.#isOpen = this.#hasSnapshot = false;
    this.#state = { state: "connecting", lastContact: 0, reason: "" };
  }

  /** A page answered; false if it was forgotten and has to join again. */
  answered(send) {
    if (!this.#members.has(send)) return false;
    if (this.#members.get(send) !== Infinity) this.#members.set(send, performance.now());
    return true;
  }

  /** End the stream for good; members get nothing more. */
  close() {
    clearInterval(this.#pings);
    for (const send of [...this.#members.keys()]) this.leave(send);
  }

  #snapshot() {
    const ts = Math.round(this.#zones.now);
    const hello = { ...this.#hello, resume: "fresh", ts };
    const zones = [...this.#zones].map((zone) => zone.status());
    const events = [
      ["hello", JSON.stringify(hello)],
      ["snapshot", JSON.stringify({ zones, ...this.#alarms.status() })],
    ];
    if (this.#session) events.push(["session", JSON.stringify({ ...this.#session, ts })]);
    return events;
  }

  #take(name, data, text) {
    if (name === "hello") [this.#hello, this.#session] = [data, null];
    if (name === "session") this.#session = data;
    for (const part of [this.#zones, this.#alarms]) {
      if (typeof part[name] === "function") part[name](data);
    }
    if (name === "snapshot") this.#hasSnapshot = true;
    this.#waiting.push([name, text]);
    // What changes the state of the page is not to be overtaken by {state}.
    if (name === "telemetry") this.#timer ||= setTimeout(() => this.#flush(), FLUSH_MS);
    else this.#flush();
  }

  #flush() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (this.#waiting.length === 0) return;
    const events = this.#waiting;
    this.#waiting = [];
    this.#notify({ events, id: this.#stream.lastId });
  }

  #notify(message) {
    for (const send of this.#members.keys()) send(message);
  }

  /** Pages that go say nothing, and a frozen one does not answer: it joins again when it thaws. */
  #ping() {
    const now = performance.now();
    for (const [send, answeredAt] of this.#members) {
      if (now - answeredAt > FORGET_MS) this.leave(send);
    }
    this.#notify({ ping: true });
  }
}
