// The form that changes setpoint and deadband of one zone or of all.

import { errorWords, goToLogin, postJson } from "./api.js";
import { celsius, degrees, difference, spread, tenths, tenthsOfSpread } from "./units.js";

const ALL = "all";
const ONE = "one:"; // before a device id, so that no device can be called "all"
const REFUSALS = new Map([
  ["Invalid setpoint", "The setpoint must be from 10.0 to 40.0 °C."],
  ["Invalid deadband", "The deadband must be from 0.0 to 5.0 °C."],
  ["DEVICE_NOT_FOUND", "This zone is not known to the server any more."],
]);

function option(value, text) {
  const element = document.createElement("option");
  element.value = value;
  element.textContent = text;
  return element;
}

export class SetpointForm {
  #zones;
  #section = document.getElementById("change");
  #form = document.getElementById("setpoint-form");
  #target = document.getElementById("target");
  #message = document.getElementById("change-message");
  #button = this.#form.querySelector("button");
  #fields = {
    setpoint_tenths: document.getElementById("setpoint"),
    deadband_tenths: document.getElementById("deadband"),
  };

  constructor(zones) {
    this.#zones = zones;
    this.list([]);
    this.#target.addEventListener("change", () => this.showCurrent());
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!this.#button.disabled) this.#submit();
    });
  }

  show(may) {
    this.#section.hidden = !may;
  }

  /** Offer these zones. The chosen zone stays chosen, even if it is gone. */
  list(deviceIds) {
    const chosen = this.#target.value;
    const options = [
      option("", "Choose a zone…"),
      option(ALL, "All zones"),
      ...deviceIds.map((id) => option(ONE + id, id)),
    ];
    if (chosen && !options.some(({ value }) => value === chosen)) {
      options.push(option(chosen, `${chosen.slice(ONE.length)} (gone)`));
    }
    this.#target.replaceChildren(...options);
    this.#target.value = chosen;
    this.showCurrent();
  }

  choose(deviceId) {
    this.#target.value = ONE + deviceId;
    this.showCurrent();
    this.#say("");
    this.#fields.setpoint_tenths.focus();
  }

  /** Show the chosen zone's values as placeholders; a field that stays empty changes nothing. */
  showCurrent() {
    const zone = this.#zones.get(this.#deviceId());
    for (const [name, field] of Object.entries(this.#fields)) {
      const value = zone?.[name] ?? null;
      const text = value === null ? "" : degrees(value);
      if (field.placeholder !== text) field.placeholder = text;
    }
  }

  #deviceId() {
    const { value } = this.#target;
    return value.startsWith(ONE) ? value.slice(ONE.length) : undefined;
  }

  /** Returns the body to post, or null after it has shown an error of the form. */
  #read() {
    const body = {};
    let wrong = null;
    for (const [name, field] of Object.entries(this.#fields)) {
      const value = tenths(field.value);
      const bad = field.value.trim() !== "" && value === null;
      field.setAttribute("aria-invalid", String(bad));
      if (bad) wrong ??= field;
      if (value !== null) body[name] = value;
    }
    this.#target.setAttribute("aria-invalid", String(this.#target.value === ""));
    if (this.#target.value === "") {
      this.#refuse("Choose a zone, or all zones.", this.#target);
    } else if (wrong) {
      this.#refuse("Write a temperature such as 23.5, with one decimal place at most.", wrong);
    } else if (Object.keys(body).length === 0) {
      this.#refuse("Write a setpoint or a deadband.", this.#fields.setpoint_tenths);
    } else {
      const deviceId = this.#deviceId();
      return deviceId === undefined ? body : { ...body, device_id: deviceId };
    }
    return null;
  }

  async #submit() {
    const body = this.#read();
    if (body === null) return;
    this.#say("Sending…");
    this.#button.disabled = true;
    const answer = await postJson("/api/set_setpoint", body);
    this.#button.disabled = false;
    if (answer.status === 200) {
      this.#say(`Done: ${this.#inWords(body)}.`, "success");
      for (const field of Object.values(this.#fields)) field.value = "";
    } else if (answer.status === 401 || answer.status === 423) {
      goToLogin(answer.status === 423 ? "locked" : "ended");
    } else {
      const known = REFUSALS.get(answer.body.error) ?? REFUSALS.get(answer.body.code);
      this.#refuse(known ?? errorWords(answer));
    }
  }

  #inWords(body) {
    const values = [];
    if ("setpoint_tenths" in body) values.push(`setpoint ${celsius(body.setpoint_tenths)}`);
    if ("deadband_tenths" in body) values.push(`deadband ${spread(body.deadband_tenths)}`);
    return `${body.device_id ?? "all zones"}, ${values.join(", ")}`;
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
