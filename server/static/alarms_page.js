// The page of alarms: open ones live from the stream, past ones from the server.

import "./shell.js";

import { AlarmRow } from "./alarm_row.js";
import { chosen, commentWords, kindWords, SEVERITIES, STATES } from "./alarm_words.js";
import { isOpen } from "./alarms.js";
import { Announcer } from "./announcer.js";
import { errorWords, getJson, goToLogin, postJson } from "./api.js";
import { formDialog } from "./dialogs.js";
import { element, say, show } from "./elements.js";
import { isFound } from "./listing.js";
import { alarms, subscribe, zones } from "./live.js";
import { onPreference } from "./preferences.js";
import { timeShort } from "./units.js";
import { VirtualList } from "./virtual_list.js";

const PAGE = 200;
const TICK_MS = 5000;
const HOUR_S = 3600;
const SHELVES = [["30 minutes", HOUR_S / 2], ["1 hour", HOUR_S], ["4 hours", 4 * HOUR_S],
  ["8 hours", 8 * HOUR_S], ["a day", 24 * HOUR_S], ["a week", 168 * HOUR_S], ["30 days", 720 * HOUR_S]];
const REFUSALS = {
  ALARM_OVER: "This alarm is over.",
  ALARM_PENDING: "This is not an alarm yet.",
  ALARM_NOT_FOUND: "This alarm is not there any more.",
};
const ABOUT_SITE = { title: "the whole site", deviceId: "", location: "" };

const part = (id) => document.getElementById(id);
const message = part("alarm-message");
const announcer = new Announcer(part("announcer"));
const list = new VirtualList(part("alarm-rows"), (entry) => new AlarmRow(entry, act),
  () => (innerWidth < 640 ? 11.5 : 5.5));

let mayAct = false;
let hasSnapshot = false;
let past = { zone: "", found: new Map(), next: "", round: 0, isLoading: false, isBegun: false };

const choice = () => ({ state: part("alarm-state").value, severity: part("alarm-severity").value });

function zoneOf({ device_id: id }) {
  return id === null ? ABOUT_SITE : (zones.get(id) ?? { title: id, deviceId: id, location: "" });
}

/** The zone of which the search is the whole id: the server can look for its past alarms. */
function searchedZone() {
  const search = part("alarm-zone").value.trim();
  return zones.get(search)?.deviceId ?? "";
}

function draw() {
  if (!hasSnapshot) return;
  const { state, severity } = choice();
  const [isPast, search, exact] = [state === "past", part("alarm-zone").value, searchedZone()];
  const isAbout = (alarm) => (exact ? alarm.device_id === exact : isFound(zoneOf(alarm), search));
  const source = isPast ? past.found.values() : alarms;
  const shown = chosen(source, { state, severity }, isAbout, zones.now);
  list.show(shown.map((alarm) => {
    const { title, location } = zoneOf(alarm);
    return { key: alarm.id, alarm, title, location, now: zones.now, mayAct };
  }));
  const more = isPast ? past.next !== "" : alarms.more > 0;
  part("alarm-more").hidden = !more || past.isLoading;
  show(part("alarm-more"), isPast ? "Look further back" : `Show the other ${alarms.more} open alarms`);
  const { length } = shown;
  const isKnown = !past.isLoading && part("alarm-again").hidden;
  const words = `${length} alarm${length === 1 ? "" : "s"}${more ? ", and more" : ""}`;
  show(part("alarm-summary"), isKnown ? words : "");
  part("alarm-none").hidden = length > 0 || !isKnown;
  const isNarrowed = search.trim() !== "" || severity !== "" || !["open", "past"].includes(state);
  const none = isPast ? "No alarm is over yet." : "Nothing is wrong now. An alarm appears here by itself.";
  show(part("alarm-none"), isNarrowed ? "No alarm is like that." : none);
}

/** The next page of past alarms, or of open ones beyond those of the stream. */
async function load() {
  const isPast = choice().state === "past";
  const round = past.round;
  const query = new URLSearchParams({ state: isPast ? "cleared" : "open", limit: PAGE });
  if (isPast && past.zone) query.set("zone", past.zone);
  if (isPast && past.next) query.set("start_after", past.next);
  past.isLoading = true;
  say(message, "Loading…");
  const wanted = past;
  const answer = isPast ? await getJson(`/api/alarms?${query}`) : await loadOpen(query);
  if (wanted !== past || round !== past.round) return;
  past.isLoading = false;
  if (answer.status === 401) goToLogin("ended");
  const isDone = answer.status === 200;
  say(message, isDone ? "" : `The alarms could not be loaded. ${errorWords(answer)}`, isDone ? "" : "error");
  part("alarm-again").hidden = isDone;
  if (isDone && isPast) {
    for (const alarm of answer.body.data) past.found.set(alarm.id, alarm);
    past.next = answer.body.last_doc_id ?? "";
  }
  draw();
}

async function loadOpen(query) {
  let answer;
  do {
    answer = await getJson(`/api/alarms?${query}`);
    if (answer.status !== 200) return answer;
    alarms.add(answer.body.data, !answer.body.has_more);
    query.set("start_after", answer.body.last_doc_id ?? "");
  } while (answer.body.has_more);
  return answer;
}

/** A choice changed: keep it in the page's address, and ask for past alarms if they are wanted. */
function choose() {
  const { state, severity } = choice();
  const zone = part("alarm-zone").value.trim();
  const kept = new URLSearchParams({
    ...(state !== "open" && { state }), ...(severity && { severity }), ...(zone && { zone }) });
  history.replaceState(null, "", `${location.pathname}${kept.size ? `?${kept}` : ""}`);
  if (state === "past" && (!past.isBegun || past.zone !== searchedZone())) {
    past = {
      zone: searchedZone(), found: new Map(), next: "", round: past.round + 1, isLoading: false, isBegun: true,
    };
    load();
  } else if (state !== "past") {
    // What was asked for and did not come is asked for again.
    if (past.isLoading || !part("alarm-again").hidden) past.isBegun = false;
    past.isLoading = false;
    past.round += 1;
    part("alarm-again").hidden = true;
    say(message, "");
  }
  draw();
}

/** Post an act; an alarm of the answer is shown at once. Throws an Error with words for people. */
async function post(alarm, name, body) {
  const answer = await postJson(`/api/alarms/${encodeURIComponent(alarm.id)}/${name}`, body);
  if (answer.status === 401) goToLogin("ended");
  if (answer.status !== 200) throw new Error(REFUSALS[answer.body.code] ?? errorWords(answer));
  take(answer.body);
  return answer.body;
}

async function act(name, alarm) {
  const about = `${kindWords(alarm)}, ${zoneOf(alarm).title}`;
  if (name === "shelve") return shelve(alarm, about);
  if (name === "comment") return comment(alarm, about);
  try {
    if (name === "acknowledge") await post(alarm, "acknowledge", {});
    else await post(alarm, "shelve", { seconds: 0 });
    say(message, `${name === "acknowledge" ? "Acknowledged" : "No longer shelved"}: ${about}.`, "success");
  } catch (error) {
    say(message, error.message, "error");
  }
}

function shelve(alarm, about) {
  const until = (seconds) => timeShort(zones.now + seconds * 1000);
  const options = SHELVES.map(([words, seconds]) => [seconds, `${words}, until ${until(seconds)}`]);
  const fields = [{ name: "seconds", label: "For", options, value: HOUR_S,
    hint: "It stays in the list, and sends no notices until then." }];
  return formDialog(`Shelve: ${about}`, fields, "Shelve", ({ seconds }) =>
    post(alarm, "shelve", { seconds: Number(seconds) }));
}

function comment(alarm, about) {
  const said = alarm.comments.map((one) => element("li", commentWords(one)));
  const before = said.length ? [element("ul", "", { class: "plain" }, said)] : [];
  const fields = mayAct ? [{ name: "text", label: "Remark", required: "", maxlength: "500" }] : [];
  return formDialog(`Comments: ${about}`, fields, mayAct ? "Add" : "Close", ({ text }) =>
    (mayAct ? post(alarm, "comment", { text }) : null), before);
}

function take(alarm) {
  alarms.alarm(alarm);
  const { zone } = past;
  const isPast = !isOpen(alarm) && (zone === "" || zone === alarm.device_id);
  if (isPast && alarm.step !== "dropped") past.found.set(alarm.id, alarm);
  draw();
}

function fill() {
  const query = new URLSearchParams(location.search);
  part("alarm-state").append(...[...STATES].map(([value, words]) => element("option", words, { value })));
  part("alarm-severity").append(element("option", "All", { value: "" }),
    ...SEVERITIES.map((value) => element("option", value, { value })));
  part("alarm-state").value = STATES.has(query.get("state")) ? query.get("state") : "open";
  part("alarm-severity").value = SEVERITIES.includes(query.get("severity")) ? query.get("severity") : "";
  part("alarm-zone").value = query.get("zone") ?? "";
}

fill();
part("alarm-filters").addEventListener("input", choose);
part("alarm-filters").addEventListener("submit", (event) => event.preventDefault());
part("alarm-more").addEventListener("click", load);
part("alarm-again").addEventListener("click", load);
onPreference((name) => {
  if (name === "units") draw();
});
subscribe({
  onEvent(name, data) {
    if (name === "snapshot") {
      hasSnapshot = true;
      choose();
    }
    if (name !== "alarm") return;
    take(data);
    const said = { raised: "alarm", cleared: "over" }[data.step];
    if (said) announcer.say(`${zoneOf(data).title}, ${kindWords(data)}`, said);
  },
  onNames: choose,
  onSession({ user }) {
    mayAct = user.role !== "read-only";
    draw();
  },
});
setInterval(() => {
  if (!document.hidden) draw();
}, TICK_MS);
