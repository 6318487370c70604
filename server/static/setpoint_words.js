// What a change of setpoint and deadband means, in words; pure.

import { celsius, degrees, difference, spread, unit } from "./units.js";

const REFUSALS = new Map([
  ["Invalid setpoint", () => `The setpoint must be from ${degrees(100)} to ${degrees(400)} ${unit()}.`],
  ["Invalid deadband", () => `The deadband must be from ${difference(0)} to ${difference(50)} ${unit()}.`],
  ["DEVICE_NOT_FOUND", () => "This zone is not known to the server any more."],
]);

/** Why the server refuses a change, in the person's unit; undefined if the answer has a general cause. */
export function refusalWords({ body }) {
  return (REFUSALS.get(body.error) ?? REFUSALS.get(body.code))?.();
}

/** "setpoint 21.5 °C, deadband 1.0 °C", of the values that a body names. */
export function valueWords(body) {
  const values = [];
  if ("setpoint_tenths" in body) values.push(`setpoint ${celsius(body.setpoint_tenths)}`);
  if ("deadband_tenths" in body) values.push(`deadband ${spread(body.deadband_tenths)}`);
  return values.join(", ");
}

/** What the cooler does after the change, if the temperature stays; "" if that is unknown. */
export function previewWords(zone, body) {
  const setpoint = body.setpoint_tenths ?? zone.setpoint_tenths;
  const deadband = body.deadband_tenths ?? zone.deadband_tenths;
  if (setpoint === null || deadband === null) return "";
  const limit = setpoint + deadband;
  const cools = `The cooler runs above ${celsius(limit)}.`;
  const { temp_tenths: temp, hasReading, fault, cool_active: on } = zone;
  if (!hasReading || temp === null || fault) return cools;
  const wanted = temp > limit;
  const becomes = wanted === on ? `stays ${on ? "on" : "off"}` : `goes ${wanted ? "on" : "off"}`;
  return `${cools} At ${celsius(temp)} it ${becomes}.`;
}

/**
 * What takes a change back: the bodies to post, for zones as they were before. Zones that have other
 * values now than `body` set were changed by somebody else since, and stay. Where all zones had the
 * same values one body restores them, and the values of new zones too.
 */
export function undoBodies(before, body, current) {
  const bodies = [];
  for (const [device_id, values] of before) {
    const zone = current(device_id);
    const fields = Object.keys(body).filter((name) => name !== "device_id");
    const isOurs = zone && fields.every((name) => zone[name] === body[name]);
    const known = fields.every((name) => values[name] !== null);
    if (!isOurs || !known) continue;
    const old = Object.fromEntries(fields.map((name) => [name, values[name]]));
    if (fields.some((name) => old[name] !== body[name])) bodies.push({ ...old, device_id });
  }
  return "device_id" in body || bodies.length < before.size ? bodies : forAll(bodies);
}

function forAll(bodies) {
  const texts = bodies.map(({ device_id: _, ...values }) => JSON.stringify(values));
  return new Set(texts).size === 1 ? [JSON.parse(texts[0])] : bodies;
}
