// The overview: all zones of the site.

import { Announcer } from "./announcer.js";
import { ChangeDialog } from "./change_dialog.js";
import { Controls } from "./controls.js";
import { show } from "./elements.js";
import { onKey } from "./keys.js";
import { subscribe, zones } from "./live.js";
import { onPreference } from "./preferences.js";
import { titled } from "./page_title.js";
import "./shell.js";
import { Sparks } from "./spark.js";
import { ZoneList } from "./zone_list.js";
import { countProblems, siteWords } from "./zone_words.js";

const MAY_SET = new Set(["operator", "admin"]);
const TICK_MS = 1000;

const site = document.getElementById("site");
const changeAll = document.getElementById("change-all");
const firstRunPart = document.getElementById("first-run");
const announcer = new Announcer(document.getElementById("announcer"));
const change = new ChangeDialog(zones);
const sparks = new Sparks(zones, (deviceIds) => deviceIds.forEach((id) => list.touch(id)));
const list = new ZoneList(zones, sparks, announcer, {
  onCounts: showCounts,
  onEdit: (deviceId, element) => change.open(deviceId, element),
});
const controls = new Controls(list);

let session = null;
let total = 0; // zones of the site
let firstRun = null; // the module of the first run, once it is needed

let live = true; // true also until the stream's state is known

function showCounts(counts, shown) {
  controls.show(counts, shown);
  const words = siteWords(counts);
  if (site.textContent !== words) site.textContent = words;
  site.dataset.well = String(counts.problems === 0);
  total = counts.total;
  offerChangeAll();
  if (total === 0) showFirstRun();
  // An admin may still be copying the key.
  else if (!firstRun?.showsKey()) firstRunPart.hidden = true;
}

const maySet = () => session !== null && MAY_SET.has(session.user.role);

function offerChangeAll() {
  changeAll.hidden = !maySet() || total === 0;
}

function wayWords({ user, kind, authOn }) {
  if (!authOn) {
    return "Log-in is off here: a device may post without a key, unless BAS_DEVICE_AUTH=required." +
      " The command register-device makes a key.";
  }
  if (kind === "display" || user.role === "admin") return "";
  return "Ask an admin to register the first device.";
}

/** On a site without a zone: an admin registers the first device, others see who can. */
async function showFirstRun() {
  if (session === null) return;
  const mayRegister = session.authOn && session.user.role === "admin";
  show(document.getElementById("no-zones-way"), mayRegister ? "" : wayWords(session));
  firstRunPart.hidden = !mayRegister;
  if (!mayRegister || firstRun !== null) return;
  firstRun = await import("./first_run.js");
  firstRun.begin();
}

/** Show in the tab's title whether all is well. A hidden tab is not drawn, but its timers run. */
function showTitle() {
  const problems = countProblems(zones);
  titled({ before: `${live ? "" : "Not live – "}${problems ? `(${problems}) ` : ""}` });
}

subscribe({
  onEvent(name, data, changed) {
    if (name === "hello" && data.resume !== "recovered") sparks.clear();
    if (name === "telemetry") sparks.add(data);
    if (name === "snapshot") {
      list.snapshot();
      change.showCurrent();
    }
    if (changed === null) return;
    if (name === "telemetry") list.touchSoon(changed);
    else list.touch(changed);
    if (name === "setpoint") {
      change.showCurrent();
      announcer.say(zones.get(changed).title, `set by ${data.updated_by}`);
    }
  },
  onNames: () => list.snapshot(),
  onState(state) {
    sparks.setLive(state === "live");
    live = state === "live" || state === "connecting";
    showTitle();
  },
  onSession(found) {
    session = found;
    offerChangeAll();
    if (!maySet()) change.close();
    list.mayEdit(maySet());
  },
});
changeAll.addEventListener("click", () => change.open());
onPreference((name) => {
  if (name !== "units") return;
  change.close(); // another tab chose: what is written in the form would be of the other unit
  list.touch();
});
onKey("a", "Change all zones", () => {
  if (!changeAll.hidden) change.open();
});
setInterval(() => {
  list.tick();
  showTitle();
}, TICK_MS);
