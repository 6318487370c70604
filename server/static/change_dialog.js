// Changes setpoint and deadband of one zone, in place over its card or row, or of all zones.

import { errorWords, goToLogin, postJson } from "./api.js";
import { previewWords, refusalWords, undoBodies, valueWords } from "./setpoint_words.js";
import { degrees, difference, tenths, tenthsOfSpread, unit } from "./units.js";

const UNDO_MS = 10_000;
const AT_ONCE = 4; // requests of an undo
const LIMITS = { setpoint_tenths: [100, 400], deadband_tenths: [0, 50] };

const part = (id) => document.getElementById(id);

export class ChangeDialog {
  #zones;
  #dialog = part("change");
  #message = part("change-message");
  #button = part("change-apply");
  #deviceId = null; // null: all zones
  #asked = false; // whether the dialog has said how many zones it changes
  #undo = null; // {before, body, words}
  #undoTimer = 0;
  #fields = {
    setpoint_tenths: { input: part("setpoint"), read: tenths, write: degrees },
    deadband_tenths: { input: part("deadband"), read: tenthsOfSpread, write: difference },
  };

  constructor(zones) {
    this.#zones = zones;
    part("setpoint-form").addEventListener("submit", (event) => {
      event.preventDefault();
      if (!this.#button.disabled) this.#submit();
    });
    part("setpoint-form").addEventListener("input", () => this.#edited());
    part("setpoint-form").addEventListener("click", (event) => this.#step(event));
    part("change-cancel").addEventListener("click", () => this.#dialog.close());
    part("undo").addEventListener("click", () => this.#takeBack());
  }

  /** Open the form for a zone, over its element; for all zones without one. */
  open(deviceId, element) {
    this.#deviceId = deviceId ?? null;
    const zone = this.#zones.get(deviceId);
    part("change-title").textContent = zone ? `Change ${zone.title}` : "Change all zones";
    for (const { input } of Object.values(this.#fields)) {
      input.value = "";
      input.removeAttribute("aria-invalid");
    }
    part("setpoint-label").textContent = `Setpoint in ${unit()}`;
    part("deadband-label").textContent = `Deadband in ${unit()}`;
    part("setpoint-hint").textContent = `${degrees(100)} to ${degrees(400)}; empty keeps it`;
    part("deadband-hint").textContent = `${difference(0)} to ${difference(50)}; empty keeps it`;
    this.#say("");
    this.showCurrent();
    this.#edited();
    this.#dialog.showModal();
    this.#putOver(element);
    this.#fields.setpoint_tenths.input.focus();
  }

  /** Show the zone's values as placeholders; a field that stays empty changes nothing. */
  showCurrent() {
    const zone = this.#zones.get(this.#deviceId);
    for (const [name, { input, write }] of Object.entries(this.#fields)) {
      const value = zone?.[name] ?? null;
      const text = value === null ? "" : write(value);
      if (input.placeholder !== text) input.placeholder = text;
    }
    this.#preview();
  }

  close() {
    this.#dialog.close();
  }

  #putOver(element) {
    const { style } = this.#dialog;
    style.inset = style.margin = "";
    if (!element || innerWidth < 640) return;
    const box = element.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = this.#dialog;
    const left = Math.max(8, Math.min(box.left, innerWidth - width - 8));
    const top = Math.max(8, Math.min(box.top, innerHeight - height - 8));
    style.margin = "0";
    style.inset = `${top}px auto auto ${left}px`;
  }

  /** The buttons − and + change a value by half a degree. */
  #step(event) {
    const { step, of } = event.target.dataset ?? {};
    if (step === undefined) return;
    const { input, read, write } = this.#fields[of];
    const now = read(input.value) ?? read(input.placeholder);
    const [least, most] = LIMITS[of];
    if (now === null) return;
    input.value = write(Math.max(least, Math.min(most, now + Number(step))));
    this.#edited();
  }

  #edited() {
    this.#asked = false;
    this.#button.textContent = "Apply";
    this.#preview();
  }

  #preview() {
    const zone = this.#zones.get(this.#deviceId);
    const body = this.#values();
    const words = zone && Object.keys(body).length ? previewWords(zone, body) : "";
    if (part("change-preview").textContent !== words) part("change-preview").textContent = words;
  }

  /** The values that are written and are temperatures. */
  #values() {
    const body = {};
    for (const [name, { input, read }] of Object.entries(this.#fields)) {
      const value = read(input.value);
      if (value !== null) body[name] = value;
    }
    return body;
  }

  /** Returns the body to post, or null after it has shown an error of the form. */
  #read() {
    const body = this.#values();
    let wrong = null;
    for (const [name, { input }] of Object.entries(this.#fields)) {
      const bad = input.value.trim() !== "" && !(name in body);
      input.setAttribute("aria-invalid", String(bad));
      if (bad) wrong ??= input;
    }
    if (wrong) {
      this.#refuse("Write a temperature such as 23.5, with one decimal place at most.", wrong);
    } else if (Object.keys(body).length === 0) {
      this.#refuse("Write a setpoint or a deadband.", this.#fields.setpoint_tenths.input);
    } else {
      return this.#deviceId === null ? body : { ...body, device_id: this.#deviceId };
    }
    return null;
  }

  /** Whether a change of all zones may be sent: the first time it says how many zones it changes. */
  #mayChangeAll(body) {
    if (body.device_id !== undefined || this.#asked) return true;
    this.#asked = true;
    const { size } = this.#zones;
    const zones = `${size} zone${size === 1 ? "" : "s"}`;
    this.#say(`This changes all ${zones}, also those that are not shown, and new ones.`, "warn");
    this.#button.textContent = `Change ${zones}`;
    return false;
  }

  async #submit() {
    const body = this.#read();
    if (body === null || !this.#mayChangeAll(body)) return;
    const before = this.#before(body);
    this.#say("Sending…");
    this.#button.disabled = true;
    const answer = await postJson("/api/set_setpoint", body);
    this.#button.disabled = false;
    if (answer.status === 200) {
      this.#dialog.close();
      this.#offerUndo(before, body);
    } else if (answer.status === 401 || answer.status === 423) {
      goToLogin(answer.status === 423 ? "locked" : "ended");
    } else {
      this.#refuse(refusalWords(answer) ?? errorWords(answer));
    }
  }

  #before(body) {
    const ids = body.device_id === undefined ? [...this.#zones].map((z) => z.deviceId) : [body.device_id];
    const values = ({ setpoint_tenths, deadband_tenths }) => ({ setpoint_tenths, deadband_tenths });
    return new Map(ids.map((id) => [id, this.#zones.get(id)]).filter(([, z]) => z).map(([id, z]) => [id, values(z)]));
  }

  #offerUndo(before, body) {
    const title = this.#zones.get(body.device_id)?.title ?? body.device_id ?? "all zones";
    this.#undo = { before, body };
    this.#toast(`Done: ${title}, ${valueWords(body)}.`, true);
  }

  #toast(words, canUndo) {
    part("toast-text").textContent = words;
    part("undo").hidden = !canUndo;
    part("undo").disabled = false;
    part("toast").hidden = false;
    clearTimeout(this.#undoTimer);
    this.#undoTimer = setTimeout(() => (part("toast").hidden = true), UNDO_MS);
  }

  async #takeBack() {
    const { before, body } = this.#undo;
    part("undo").disabled = true;
    clearTimeout(this.#undoTimer);
    const bodies = undoBodies(before, body, (id) => this.#zones.get(id));
    let failed = null;
    const rest = [...bodies];
    const worker = async () => {
      for (let one = rest.shift(); one && !failed; one = rest.shift()) {
        const answer = await postJson("/api/set_setpoint", one);
        if (answer.status !== 200) failed ??= answer;
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    if (failed) this.#toast(`Not all is as before. ${errorWords(failed)}`, true);
    else if (bodies.length === 0 && body.device_id) this.#toast("Changed again since, so it stays.", false);
    else this.#toast("As before.", false);
  }

  #refuse(text, field) {
    this.#say(text, "error");
    field?.focus();
  }

  #say(text, kind = "") {
    this.#message.textContent = text;
    this.#message.className = `message ${kind}`;
  }
}
