// A zone's alarms on its page: the open ones in words, and when alarms began in the chart's span.

import { commentWords, kindWords, SEVERITIES, standWords, timeWords, valueWords } from "./alarm_words.js";
import { getJson } from "./api.js";
import { element, show } from "./elements.js";
import { alarms, zones } from "./live.js";
import { below } from "./root.js";

const MARKS_MAX = 500;
const part = (id) => document.getElementById(id);

function linesOf(alarm) {
  const now = zones.now;
  const facts = [valueWords(alarm), timeWords(alarm, now), standWords(alarm, now)];
  const lines = [element("strong", `${kindWords(alarm)}: `), facts.filter(Boolean).join(" · ")];
  const said = alarm.comments.at(-1);
  return said ? [...lines, element("p", commentWords(said), { class: "hint" })] : lines;
}

/** Show the zone's open alarms, the worst first. */
export function showAlarms(deviceId) {
  const open = [...alarms].filter((one) => one.device_id === deviceId);
  const rank = ({ severity }) => SEVERITIES.indexOf(severity);
  open.sort((a, b) => rank(a) - rank(b) || b.since - a.since);
  part("alarms").hidden = open.length === 0;
  show(part("alarms-title"), open.length === 1 ? "Open alarm" : "Open alarms");
  part("alarms-link").href = below(`/alarms?${new URLSearchParams({ zone: deviceId })}`);
  part("past-alarms").href = below(`/alarms?${new URLSearchParams({ state: "past", zone: deviceId })}`);
  const items = open.map((one) => element("li", "", { "data-severity": one.severity }, linesOf(one)));
  part("alarm-list").replaceChildren(...items);
}

/** When alarms of the zone began in this span, Unix ms; null if the server does not say it. */
export async function beginnings(deviceId, { start, end }) {
  const query = new URLSearchParams({ zone: deviceId, since: Math.max(0, Math.floor(start)), limit: MARKS_MAX });
  const { status, body } = await getJson(`/api/alarms?${query}`);
  if (status !== 200) return null;
  return body.data
    .filter((one) => one.state !== "pending" && one.since >= start && one.since <= end)
    .map((one) => one.since);
}
