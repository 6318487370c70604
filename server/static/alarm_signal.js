// What every page shows of alarms: a count in the menu, the tab's title and icon, perhaps a sound.

import { isUnseen } from "./alarms.js";
import { show } from "./elements.js";
import { alarms, subscribe, zones } from "./live.js";
import { titled } from "./page_title.js";
import { onPreference, prefer, preference } from "./preferences.js";

const TICK_MS = 5000; // a shelf may end
const TONES = [[880, 0], [660, 0.2], [880, 0.4]]; // Hz, and seconds from now
const TONE_S = 0.15;

const count = document.getElementById("alarm-count");
const icon = document.querySelector("link[rel=icon]");
const choice = document.getElementById("sound");
const calm = icon.getAttribute("href");
let audio = null;

function showUnseen() {
  const { length } = alarms.unseen(zones.now);
  const words = length === 0 ? "" : `${length}${alarms.more ? "+" : ""}`;
  show(count, words);
  count.hidden = words === "";
  show(document.getElementById("alarm-count-words"), words && "not acknowledged");
  titled({ alarms: words && "▲ " });
  const href = words ? icon.dataset.alarm : calm;
  if (icon.getAttribute("href") !== href) icon.setAttribute("href", href);
}

/** Browsers let a page sound only after a person has used it. */
function wake() {
  if (preference("sound") !== "on") return;
  audio ??= new AudioContext();
  audio.resume();
}

function sound(id) {
  // Of several tabs one sounds.
  if (audio?.state !== "running" || preference("sounded") === id) return;
  prefer("sounded", id);
  for (const [pitch, after] of TONES) {
    const tone = new OscillatorNode(audio, { frequency: pitch });
    tone.connect(new GainNode(audio, { gain: 0.2 })).connect(audio.destination);
    tone.start(audio.currentTime + after);
    tone.stop(audio.currentTime + after + TONE_S);
  }
}

function showChoice() {
  choice.checked = preference("sound") === "on";
}

choice.addEventListener("change", () => {
  prefer("sound", choice.checked ? "on" : "");
  wake();
  if (choice.checked) audio?.resume().then(() => sound(`trial ${Date.now()}`));
});
for (const used of ["pointerdown", "keydown"]) addEventListener(used, wake, { passive: true });
onPreference((name) => {
  if (name === "sound") showChoice();
});
subscribe({
  onEvent(name, data) {
    if (name !== "alarm" && name !== "snapshot") return;
    showUnseen();
    const isNew = name === "alarm" && data.step === "raised" && alarms.get(data.id) !== undefined;
    if (isNew && data.severity !== "info" && isUnseen(data, zones.now)) sound(data.id);
  },
});
showChoice();
setInterval(showUnseen, TICK_MS);
