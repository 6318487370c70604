// An EventSource that a test plays: `sources` has all that were opened, `say` sends an event.

export const sources = [];

globalThis.EventSource = class extends EventTarget {
  static OPEN = 1;
  static CLOSED = 2;
  readyState = 1;
  constructor(path) {
    super();
    this.path = path;
    sources.push(this);
  }
  close() {
    this.readyState = 2;
  }
  say(name, data, lastEventId) {
    this.dispatchEvent(Object.assign(new Event(name), { data: JSON.stringify(data), lastEventId }));
  }
};
