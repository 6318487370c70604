// One client of the stream: prints a line for each reading (its temperature), each hello, and its end.
// node clients.mjs NAME URL
import { createRequire } from "node:module";
const [name, url] = process.argv.slice(2);
const require = createRequire(process.cwd() + "/");
const NAMES = ["hello", "telemetry", "bye"];
function show(event, data) {
  if (event === "telemetry") console.log("reading", JSON.parse(data).temp_tenths);
  if (event === "hello") console.log("hello", JSON.parse(data).resume);
}
const ended = (why) => console.log("ended", String(why?.message ?? why).split("\n")[0]);
const listen = (source) => {
  for (const one of NAMES) source.addEventListener(one, (event) => show(one, event.data));
  source.addEventListener("error", (error) => {
    if (source.readyState === 2) ended(error.message ?? "closed");
  });
};
const start = {
  eventsource() {
    const { EventSource } = require("eventsource");
    listen(new EventSource(url));
  },
  "eventsource-client"() {
    const { createEventSource } = require("eventsource-client");
    createEventSource({ url, onMessage: ({ event, data }) => show(event, data) });
  },
  "launchdarkly-eventsource"() {
    const { EventSource } = require("launchdarkly-eventsource");
    listen(new EventSource(url));
  },
  "@microsoft/fetch-event-source"() {
    // It expects a browser's page around it.
    globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
    globalThis.window = globalThis;
    const { fetchEventSource } = require("@microsoft/fetch-event-source");
    fetchEventSource(url, { fetch, onmessage: ({ event, data }) => show(event, data) }).then(ended, ended);
  },
  "reconnecting-eventsource"() {
    globalThis.window = globalThis;
    const Reconnecting = require("reconnecting-eventsource").default;
    const { EventSource } = require("eventsource");
    const source = new Reconnecting(url, { eventSourceClass: EventSource });
    for (const one of NAMES) source.addEventListener(one, (event) => show(one, event.data));
  },
};
start[name]();
setInterval(() => {}, 1000);
