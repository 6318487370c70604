// The server: whether it is well, and what is open to strangers.

import { adminPage, call } from "./admin_frame.js";
import { getJson } from "./api.js";
import { element } from "./elements.js";
import { span, timeWhole } from "./units.js";

const CLOCK_OFF_MS = 60_000;
const NAMES = {
  store: "Store of readings", log: "Log of events", database: "Database file", disk: "Disk",
  clock: "Shared clock", audit: "Store of the audit log",
};
const STATES = {
  ready: "All is well.",
  degraded: "Readings are stored and answered, but something else does not work.",
  unavailable: "Readings cannot be stored: devices get safe answers only.",
  draining: "The server is ending.",
};

adminPage({
  // 503 is an answer too: it says what is wrong.
  load: async () => {
    const [system, ready] = await Promise.all([call("GET", "/api/system"), getJson("/readyz")]);
    return { system, ready: ready.body };
  },
  render: ({ system, ready }) => element("div", "", { class: "cards-of-facts" }, [
    wellPanel(ready), openPanel(system), serverPanel(system), storePanel(system),
  ]),
});

function panel(title, children) {
  return element("section", "", { class: "panel" }, [element("h2", title), ...children]);
}

function facts(pairs) {
  return element("dl", "", {}, pairs.map(([name, value, kind = null]) =>
    element("div", "", {}, [element("dt", name), element("dd", value, { class: kind })])));
}

function wellPanel({ status, checks = {}, reasons = {} }) {
  const rows = Object.entries(checks).map(([name, code]) => {
    const isWell = code === "ok";
    return [NAMES[name] ?? name, isWell ? "well" : (reasons[name] ?? code), isWell ? "good" : "bad"];
  });
  return panel("Is it well?", [element("p", STATES[status] ?? "The server does not say."), facts(rows)]);
}

function openPanel({ open_to_strangers: open }) {
  if (open.length === 0) {
    return panel("Open to strangers", [element("p", "Nothing that this server decides on.")]);
  }
  const lines = open.map((line) => element("li", `${line[0].toUpperCase()}${line.slice(1)}.`));
  return panel("Open to strangers", [element("ul", "", { class: "plain" }, lines)]);
}

function clockWords(now) {
  const off = now - Date.now();
  const words = timeWhole(now);
  if (Math.abs(off) < CLOCK_OFF_MS) return words;
  return `${words}, ${span(Math.abs(off))} ${off > 0 ? "ahead of" : "behind"} this browser's`;
}

function serverPanel(system) {
  return panel("Server", [facts([
    ["Version", system.version],
    ["Clock", clockWords(system.now)],
    ["Time zone", system.time_zone || "that of the machine"],
    ["Processes", String(system.processes)],
    ["https on its own port", system.tls ? "yes" : "no"],
    ["Log-in", system.log_in.replace("_", " ")],
    ["Device keys", system.device_keys],
  ])]);
}

function storePanel(system) {
  const free = system.disk_free_bytes;
  return panel("Stores", [facts([
    ["Readings", system.readings_in],
    ["Accounts", system.accounts_in],
    ["Audit log", system.audit_in],
    ["Events", system.events_in],
    ["Folder", system.data_folder],
    ["Free on its disk", free === null ? "the disk does not answer" : `${(free / 1e9).toFixed(1)} GB`],
  ])]);
}
