// The page of one zone: its values now, its history, its names.

import "./shell.js";

import { getJson } from "./api.js";
import { element, say, show } from "./elements.js";
import { onKey } from "./keys.js";
import { subscribe, zones } from "./live.js";
import { onPreference } from "./preferences.js";
import { CHOICES, toQuery } from "./spans.js";
import { beginnings, showAlarms } from "./zone_alarms.js";
import { ZoneHistory } from "./zone_history.js";
import { eachZone } from "./zone_names.js";
import { showNames, showNow } from "./zone_now.js";

const part = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const deviceId = query.get("device_id") ?? "";
const TICK_MS = 1000;
const ALARM_TICK_MS = 10_000;
const KEEP_MS = 300;

let keeping = 0;
let isAdmin = false;
let forms = null; // the module, for who may change something
let names = { name: null, location: null };
const nameOf = new Map(); // of all zones, by device
let isListed = null; // whether the server's list has this zone, or could not be read; null before
let hasSnapshot = false;
let round = 0;
let comparedWith = query.get("with") ?? "";

const history = new ZoneHistory(deviceId, query, keep, shown);

/** Keep the span in the page's address, a moment later: browsers do that slowly and not too often. */
function keep(span) {
  clearTimeout(keeping);
  keeping = setTimeout(() => {
    const address = new URLSearchParams({ device_id: deviceId, ...toQuery(span) });
    if (comparedWith) address.set("with", comparedWith);
    window.history.replaceState(null, "", `${location.pathname}?${address}`);
  }, KEEP_MS);
}

/** Only admins may read the audit log, so only they load what shows it. */
async function showAudit(...about) {
  return (await import("./zone_audit.js")).showAudit(...about);
}

/** The same for the forms of operators and admins. */
async function loadForms() {
  const loaded = await import("./zone_forms.js");
  if (forms) return;
  forms = loaded;
  forms.setpointForm(deviceId);
  forms.namesForm(deviceId, () => names, takeNames);
}

/** The same for the table of values, which few people open. */
async function showTable(...about) {
  return (await import("./zone_values.js")).showTable(...about);
}

/** The same for the figures, which come after the chart. */
async function showFigures(...about) {
  return (await import("./zone_figures.js")).showFigures(...about);
}

/** Whether another span was shown since round `own`: what was asked for then is late. */
const later = (own) => () => own !== round;

/** This span is shown, with its chart or without: everything that is about a span follows. */
async function shown(span) {
  const isStale = later((round += 1));
  await Promise.allSettled([
    showFigures(deviceId, span, isStale),
    part("values").open ? showTable(deviceId, span, isStale) : null,
    isAdmin ? showAudit(deviceId, span, isStale) : null,
    markAlarms(span, isStale),
  ]);
}

async function markAlarms(span, isStale) {
  const times = await beginnings(deviceId, span);
  if (times !== null && !isStale()) history.mark(times);
}

function showZone() {
  const zone = zones.get(deviceId);
  if (zone === undefined) show(part("zone-state"), "");
  if (zone !== undefined) showNow(zone, history.now);
  part("now").hidden = zone === undefined;
}

function showUnknown(isKnown, cause = "") {
  const words = deviceId === "" ? "The address names no zone." : cause;
  show(part("unknown-words"), isKnown ? "" : words);
  part("unknown").hidden = isKnown || words === "";
}

/** Say why there are no values: the list also has devices that are registered and never reported. */
function showMissing() {
  const words = isListed === false
    ? "Nothing is known of this zone: it was deleted, or it never reported."
    : "This zone has not reported yet.";
  showUnknown(zones.get(deviceId) !== undefined, isListed === null ? "" : words);
}

function takeNames(document) {
  if (document.device_id !== deviceId) return;
  names = document;
  showNames(deviceId, names);
}

/** Names of all zones; without them the page shows device ids. */
async function loadNames() {
  const isWhole = await eachZone((one) => {
    nameOf.set(one.device_id, one.name || one.device_id);
    takeNames(one);
  });
  isListed = nameOf.has(deviceId) || !isWhole;
  if (hasSnapshot) showMissing();
  listOthers();
}

function listOthers() {
  const ids = [...new Set([...[...zones].map((zone) => zone.deviceId), ...nameOf.keys()])];
  const others = ids.filter((id) => id !== deviceId).sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
  const options = others.map((id) => element("option", nameOf.get(id) ?? id, { value: id }));
  part("other").replaceChildren(element("option", "no other zone", { value: "" }), ...options);
  part("other").value = others.includes(comparedWith) ? comparedWith : "";
}

function compare(other) {
  comparedWith = other;
  part("key-other").hidden = other === "";
  show(part("key-other"), nameOf.get(other) ?? other);
  history.compare(other);
  keep(history.span);
}

function listSpans() {
  for (const { key, length, name } of CHOICES) {
    const button = element("button", name, { type: "button", "data-length": length });
    button.addEventListener("click", () => history.choose(length));
    part("spans").append(button);
    onKey(key, `The last ${name}`, () => history.choose(length));
  }
}

function listenToChart() {
  const keys = { ArrowLeft: () => history.pan(-0.25), ArrowRight: () => history.pan(0.25) };
  part("chart").addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  part("chart").addEventListener("wheel", (event) => {
    const isSideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
    if (!isSideways && !event.ctrlKey) return; // the page scrolls
    event.preventDefault();
    if (isSideways) history.pan(Math.sign(event.deltaX) * 0.05);
    else history.zoom(event.deltaY > 0 ? 1.25 : 0.8, event.clientX);
  }, { passive: false });
  part("chart").addEventListener("dblclick", () => history.zoom(2));
  part("earlier").addEventListener("click", () => history.pan(-0.5));
  part("later").addEventListener("click", () => history.pan(0.5));
  part("zoom-in").addEventListener("click", () => history.zoom(0.5));
  part("zoom-out").addEventListener("click", () => history.zoom(2));
  part("to-now").addEventListener("click", () => history.choose(history.span.length));
  onKey("+", "Zoom in", () => history.zoom(0.5));
  onKey("-", "Zoom out", () => history.zoom(2));
  onKey("0", "Back to now", () => history.choose(history.span.length));
}

function receive(name, data, changed) {
  if (name === "hello" || name === "heartbeat") history.setClock(data.ts);
  if (name === "snapshot") {
    // After a gap in the stream the history has what the page missed.
    history.load();
    hasSnapshot = true;
    showMissing();
    listOthers();
    showAlarms(deviceId);
  }
  if (name === "alarm" && data.device_id === deviceId) {
    showAlarms(deviceId);
    if (data.step === "raised") markAlarms(history.span, later(round));
  }
  if (name === "settings") takeNames(data);
  if (name === "telemetry" && data.device_id === deviceId) {
    isListed = true;
    showUnknown(true);
  }
  if (name === "deleted" && changed === deviceId) {
    isListed = false;
    showUnknown(false, "This zone was deleted.");
  }
  history.take(name, data);
  if (changed === deviceId || name === "snapshot") showZone();
  const isChange = name === "setpoint" || name === "settings";
  if (isChange && isAdmin && data.device_id === deviceId) showAudit(deviceId, history.span, later(round));
}

showNames(deviceId);
showUnknown(true);
listSpans();
listenToChart();
for (const id of ["setpoint-form", "names"]) {
  part(id).addEventListener("submit", (event) => event.preventDefault()); // before its script is there
}
part("values").addEventListener("toggle", () => {
  if (part("values").open) showTable(deviceId, history.span, later(round)).catch(() => {});
});
part("other").addEventListener("change", () => compare(part("other").value));
if (comparedWith) compare(comparedWith);
onPreference((name) => {
  if (name !== "units") return;
  forms?.showUnit();
  showNames(deviceId, names);
  part("names").hidden = true; // it has temperatures in the other unit
  showZone();
  showAlarms(deviceId);
  history.restyle();
  shown(history.span);
});
subscribe({
  onEvent: receive,
  onState: (state) => {
    if (state === "lost") history.load(); // perhaps only the stream is away
  },
  onSession: ({ user }) => {
    isAdmin = user.role === "admin";
    if (user.role !== "read-only") loadForms().catch(() => {});
  },
});
loadNames();
setInterval(() => {
  if (!document.hidden) showZone();
}, TICK_MS);
setInterval(() => {
  if (!document.hidden) showAlarms(deviceId);
}, ALARM_TICK_MS);
if (deviceId === "") say(part("chart-message"), "Choose a zone on the overview.", "warn");
