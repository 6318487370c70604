// The upper part of a zone's page: its name, its values now, and what is wrong with it in words.

import { show } from "./elements.js";
import { titled } from "./page_title.js";
import { celsius, span, spread, timeOfDay, timeShort } from "./units.js";
import { condition, heldWords, isPresent, relayWords, stateWords, warningSince, warningWords } from "./zone_words.js";

const part = (id) => document.getElementById(id);
const BAD = new Set(["fault", "silent fault", "refused", "stuck", "high", "low"]);
const CALM = new Set(["well", "new"]);

function kindOf(zone) {
  const now = condition(zone);
  if (BAD.has(now)) return "bad";
  if (!CALM.has(now)) return "warn";
  return zone.cool_active ? "cooling" : "well";
}

/** Show a zone of zones.js as it is now, by the server's clock. */
export function showNow(zone, now) {
  const kind = kindOf(zone);
  show(part("zone-state"), stateWords(zone));
  part("zone-state").dataset.kind = kind;
  show(part("temperature"), zone.hasReading ? celsius(zone.temp_tenths) : "–");
  part("temperature").dataset.old = String(!isPresent(condition(zone)));
  show(part("fact-setpoint"), celsius(zone.setpoint_tenths));
  show(part("fact-deadband"), spread(zone.deadband_tenths));
  show(part("fact-cooler"), relayWords(zone, zone.cool_active));
  show(part("fact-heat"), relayWords(zone, zone.heat_active));
  show(part("fact-age"), zone.hasReading ? `${span(zone.age)} ago` : "–");
  part("fact-age").title = zone.hasReading ? timeOfDay(zone.received) : "";
  const held = heldWords(zone, now);
  show(part("held"), held && `Cooler ${held}`);
  part("held").hidden = held === "";
  showWarning(zone, kind);
}

function showWarning(zone, kind) {
  const words = warningWords(zone);
  part("warning").hidden = words === "";
  part("warning").dataset.kind = kind;
  show(part("why"), words);
  const began = warningSince(zone);
  const since = began ? `Since ${timeShort(began.since)}, for ${span(began.ms)}` : "";
  show(part("since"), since);
  part("since").hidden = since === "";
}

/** The zone's name with its location and its device, and its own thresholds, as far as they are known. */
export function showNames(deviceId, { name = null, location = null, ...limits } = {}) {
  show(part("zone-name"), name || deviceId);
  const where = [location, name ? `device ${deviceId}` : null].filter(Boolean).join(" · ");
  show(part("zone-where"), where);
  const { high_tenths: high = null, low_tenths: low = null } = limits;
  const words = [low === null ? "" : `below ${celsius(low)}`, high === null ? "" : `above ${celsius(high)}`];
  show(part("fact-limits"), words.filter(Boolean).join(", "));
  part("limits").hidden = high === null && low === null;
  titled({ name: `${name || deviceId} – Building automation` });
}
