// The overview: all zones of the site.

import { Cards } from "./cards.js";
import { subscribe, zones } from "./live.js";
import { SetpointForm } from "./setpoint_form.js";
import "./shell.js";
import { countZones } from "./zone_words.js";

const TITLE = document.title;
const MAY_SET = new Set(["operator", "admin"]);
const TICK_MS = 1000;

const form = new SetpointForm(zones);
const cards = new Cards(zones, {
  onList: (deviceIds) => form.list(deviceIds),
  onEdit: (deviceId) => form.choose(deviceId),
});

let live = true; // true also until the stream's state is known

/** Show in the tab's title whether all is well. A hidden tab is not drawn, but its timers run. */
function showTitle() {
  const { problems } = countZones(zones);
  const title = `${live ? "" : "Not live – "}${problems ? `(${problems}) ` : ""}${TITLE}`;
  if (document.title !== title) document.title = title;
}

subscribe({
  onEvent(name, data, changed) {
    if (name === "snapshot") {
      cards.touch();
      form.showCurrent();
    }
    if (changed === null) return;
    cards.touch(changed);
    if (name === "setpoint") {
      form.showCurrent();
      cards.announce(changed, `set by ${data.updated_by}`);
    }
  },
  onState(state) {
    live = state === "live" || state === "connecting";
    showTitle();
  },
  onSession({ user }) {
    form.show(MAY_SET.has(user.role));
    cards.mayEdit(MAY_SET.has(user.role));
  },
});
setInterval(() => {
  cards.tick();
  showTitle();
}, TICK_MS);
