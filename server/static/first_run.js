// The first run: an admin registers a device on the empty overview, copies its client, and sees its
// first reading arrive. The key is shown only once, so the steps stay until the admin closes them.

import { errorWords, getJson, goToLogin, postJson, sendJson } from "./api.js";
import { curlLine, microPython } from "./clients.js";
import { codeOf, SERVER } from "./device_key.js";
import { copied, fieldOf } from "./dialogs.js";
import { element, say, show } from "./elements.js";
import { subscribe, zones } from "./live.js";
import { celsius } from "./units.js";
import { generate } from "./vendor/lean-qr.nano.js";
import { stateWords } from "./zone_words.js";

const section = document.getElementById("first-run");
const title = document.getElementById("first-run-title");

let made = null; // the answer to /api/devices/key while its key is shown
let arrived = null; // the element that says whether it came
let stop = () => {};

function button(words, kind = "", type = "button") {
  return element("button", words, { type, class: kind });
}

function showSteps(...steps) {
  section.replaceChildren(title, ...steps);
}

/** Ask for id and name of the device. */
export function begin() {
  const message = element("p", "", { class: "message", role: "alert" });
  const go = button("Make its key", "primary", "submit");
  const form = element("form", "", { class: "first-run-form" }, [
    fieldOf({
      name: "device_id", label: "Device id", required: "", maxlength: "128",
      hint: "As the device posts it, such as attic or pico-7.",
    }),
    fieldOf({ name: "name", label: "Name of its zone (optional)", maxlength: "80", hint: "Such as Attic." }),
    message,
    element("div", "", { class: "actions" }, [go]),
  ]);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (go.disabled) return;
    go.disabled = true;
    say(message, "");
    const { device_id: deviceId, name } = Object.fromEntries(new FormData(form));
    const answer = await register(deviceId);
    if (answer.status === 200) showClient(answer.body, await nameProblem(deviceId, name));
    else say(message, errorWords(answer), "error");
    go.disabled = false;
  });
  showSteps(form);
}

/** Make the key. One that the device has already stays valid until it uses the new one. */
async function register(deviceId) {
  const known = await getJson("/api/devices");
  if (known.status !== 200) return refused(known);
  const device = Object.values(known.body).find((one) => one.device_id === deviceId);
  const overlap = Boolean(device?.has_key && !device.key_revoked);
  return refused(await postJson("/api/devices/key", { device_id: deviceId, overlap }));
}

function refused(answer) {
  if (answer.status === 401) goToLogin("ended");
  return answer;
}

/** Give the zone its name; the words for why that failed, "" if it did not. */
async function nameProblem(deviceId, name) {
  if (name.trim() === "") return "";
  const path = `/api/zones/${encodeURIComponent(deviceId)}`;
  const answer = await sendJson("PATCH", path, { name });
  return answer.status === 200 ? "" : `The name was not kept. ${errorWords(answer)}`;
}

/** A text to copy, with its button; `words` say what it is. */
function copyable(words, text, kind = "") {
  const message = element("p", "", { class: "message", role: "status" });
  const copy = button("Copy");
  copy.setAttribute("aria-label", `Copy: ${words}`);
  copy.addEventListener("click", () => copied(text, message));
  return element("div", "", { class: "copyable" }, [
    element("h3", words),
    element("code", text, { class: `secret ${kind}`, tabindex: "0", role: "region", "aria-label": words }),
    element("div", "", { class: "actions" }, [copy, message]),
  ]);
}

function showClient(answer, problem) {
  made = answer;
  section.hidden = false; // another device may have reported since
  const { device_id: deviceId, key } = made;
  show(title, `Set up ${deviceId}`);
  const canvas = element("canvas", "", { class: "code", role: "img", "aria-label": "QR code of server, device and key" });
  const warning = element("p", "", { class: "message", role: "alert" });
  arrived = element("p", "", { class: "message", role: "status" });
  const done = button("I have kept the key", "primary");
  done.addEventListener("click", close);
  showSteps(
    element("p", "The key is shown only now. The device sends it as Authorization: Bearer, or as X-Device-Key."),
    warning,
    element("div", "", { class: "first-run-key" }, [copyable("Key", key, "key"), canvas]),
    copyable("A reading to try it, for a shell", curlLine(SERVER, deviceId, key), "line"),
    element("details", "", {}, [
      element("summary", "A program for MicroPython"),
      copyable("Program", microPython(SERVER, deviceId, key), "program"),
    ]),
    arrived,
    element("div", "", { class: "actions" }, [done]),
  );
  generate(codeOf(made)).toCanvas(canvas);
  say(warning, problem, "warn");
  stop = subscribe({ onEvent: showArrival });
  showArrival();
  title.focus();
}

/** Say that the device's first reading has come, once; the stream's events bring it. */
function showArrival() {
  const zone = zones.get(made.device_id);
  if (zone === undefined || !(zone.hasReading || zone.fault)) {
    say(arrived, `Waiting for the first reading of ${made.device_id}…`, "warn");
    return;
  }
  stop();
  const words = zone.fault
    ? `${zone.title} reports, but without a temperature: ${stateWords(zone)}.`
    : `The first reading is here. ${zone.title}: ${celsius(zone.temp_tenths)}.`;
  say(arrived, words, zone.fault ? "error" : "success");
}

/** Whether a key is shown that would be lost. */
export function showsKey() {
  return made !== null;
}

function close() {
  stop();
  made = null;
  show(title, "Register the first device");
  begin();
  section.hidden = zones.size > 0;
  document.getElementById("zones-title").focus();
}
