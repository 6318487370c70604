// How this page takes part in the browser's one stream: through a SharedWorker; where there is none, or
// it fails, through the page that leads the others; where pages cannot reach each other, by itself.

import { askSession } from "./api.js";
import { Election } from "./election.js";
import { sharedWorker } from "./head_start.js";
import { below } from "./root.js";
import { StreamHub } from "./stream_hub.js";
import { stopwatch } from "./units.js";

const WELCOME_MS = 5000; // a worker that has said nothing by then does not work here
const QUIET_MS = 8000; // longer than a hub's pings are apart
const ANSWER_MS = 4000;
const LOOK_MS = 1000;
const ELECT_MS = 100;

let workersWork = globalThis.SharedWorker !== undefined;

/** A stream that the pages of this browser and session share; `name` is the same in all of them. */
export class Connection {
  #take;
  #name;
  #lastId;
  #way = null;

  /** `take(message)` gets the messages of stream_hub.js. */
  constructor(name, lastId, take) {
    this.#name = name;
    this.#lastId = lastId;
    this.#take = take;
    this.#open();
  }

  get lastId() {
    return this.#lastId;
  }

  close() {
    this.#way?.close();
    this.#way = null;
  }

  #open() {
    this.close();
    const take = (message) => {
      if (message.id) this.#lastId = message.id;
      this.#take(message);
    };
    if (workersWork) {
      const failed = () => {
        workersWork = false;
        if (this.#way !== null) this.#open();
      };
      const lost = () => {
        take({ state: "silent", lastContact: Date.now(), reason: "" });
        this.#open();
      };
      this.#way = new Worked(this.#name, this.#lastId, { take, failed, lost });
    } else if (globalThis.BroadcastChannel !== undefined) {
      this.#way = new Elected(this.#name, () => this.#lastId, take);
    } else {
      this.#way = new Alone(this.#lastId, take);
    }
  }
}

/** A page that shares its stream with no other page. */
class Alone {
  #hub;

  constructor(lastId, take) {
    this.#hub = new StreamHub(askSession, lastId);
    this.#hub.join(take, { isSure: true });
  }

  close() {
    this.#hub.close();
  }
}

/** A page that gets its events from a SharedWorker. It notices that a worker is gone by its silence. */
class Worked {
  #port;
  #name;
  #lastId;
  #handlers;
  #quiet = stopwatch();
  #asked = null;
  #welcomed = false;
  #isClosed = false;
  #timer;

  constructor(name, lastId, handlers) {
    this.#handlers = handlers;
    this.#name = name;
    this.#lastId = lastId;
    const worker = sharedWorker();
    this.#port = worker.port;
    if (worker.hasFailed) {
      queueMicrotask(() => this.#fail());
      return;
    }
    worker.onError = () => this.#fail();
    this.#port.onmessage = ({ data }) => this.#receive(data);
    this.#join();
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
  }

  close() {
    clearInterval(this.#timer);
    this.#port?.postMessage({ leave: true });
    this.#port?.close();
    this.#port = null;
    this.#isClosed = true;
  }

  #join() {
    this.#port.postMessage({ join: this.#name, lastId: this.#lastId });
  }

  #fail() {
    if (this.#isClosed) return;
    this.close();
    this.#handlers.failed();
  }

  #receive(message) {
    this.#quiet = stopwatch();
    this.#asked = null;
    this.#welcomed = true;
    if (message.id) this.#lastId = message.id;
    if (message.ping) this.#port?.postMessage({ pong: true });
    else if (message.rejoin) this.#join();
    else this.#handlers.take(message);
  }

  #look() {
    if (this.#quiet() < (this.#welcomed ? QUIET_MS : WELCOME_MS)) return;
    if (!this.#welcomed) {
      this.#fail();
    } else if (this.#asked === null) {
      this.#asked = stopwatch();
      this.#port.postMessage({ ask: true });
    } else if (this.#asked() > ANSWER_MS) {
      this.close();
      this.#handlers.lost();
    }
  }
}

/** A page that leads others or follows one of them. */
class Elected {
  #id = `${Date.now()}-${Math.random()}`;
  #channel;
  #election;
  #lastId;
  #take;
  #hub = null;
  #welcomed = false;
  #timer;
  #all = (message) => this.#post({ to: "all", message });

  constructor(name, lastId, take) {
    this.#take = take;
    this.#lastId = lastId;
    this.#channel = new BroadcastChannel(below(`/${name}`));
    this.#channel.onmessage = ({ data }) => this.#receive(data);
    this.#election = new Election(this.#id, performance.now(), {
      send: (message) => this.#post({ vote: message }),
      onLead: () => this.#lead(),
      onFollow: (leader) => this.#follow(leader),
    });
    this.#timer = setInterval(() => this.#tick(), ELECT_MS);
  }

  close() {
    clearInterval(this.#timer);
    this.#hub?.close();
    this.#hub = null;
    this.#election.resign();
    this.#channel.close();
    this.#channel = null;
  }

  #post(message) {
    this.#channel?.postMessage(message);
  }

  #tick() {
    this.#election.tick(performance.now());
    this.#hub?.answered(this.#all); // followers come and go, and the leader speaks to all of them
  }

  #lead() {
    this.#hub = new StreamHub(askSession, this.#lastId());
    this.#hub.join(this.#take, { isSure: true });
    this.#hub.join(this.#all);
    this.#welcomed = true;
  }

  #follow(leader) {
    this.#hub?.close();
    this.#hub = null;
    this.#welcomed = false;
    this.#post({ to: leader, join: this.#id });
  }

  #receive({ vote, to, join, message }) {
    if (vote) {
      this.#election.take(vote, performance.now());
    } else if (join !== undefined) {
      if (to === this.#id) this.#hub?.welcome((one) => this.#post({ to: join, message: one }));
    } else if (!this.#election.leads && (to === this.#id || (to === "all" && this.#welcomed))) {
      this.#welcomed = true;
      if (!message.ping) this.#take(message);
    }
  }
}
