// The dashboard: connects the log-in state and the live stream with the parts of the page.

import { askSession, errorWords, getJson, goToLogin, postJson } from "./api.js";
import { Cards } from "./cards.js";
import { SessionNotice } from "./session_notice.js";
import { SetpointForm } from "./setpoint_form.js";
import { LiveStream } from "./stream.js";
import { timeOfDay } from "./units.js";
import { countZones } from "./zone_words.js";
import { Zones } from "./zones.js";

const TITLE = document.title;
const MAY_SET = new Set(["operator", "admin"]);
const RETRY_MS = 2000;
const TICK_MS = 1000;

const userText = document.getElementById("who");
const logoutButton = document.getElementById("logout");
const connection = document.getElementById("connection");
const connectionText = document.getElementById("connection-text");

const zones = new Zones();
const sessionNotice = new SessionNotice();
const form = new SetpointForm(zones);
const cards = new Cards(zones, {
  onList: (deviceIds) => form.list(deviceIds),
  onEdit: (deviceId) => form.choose(deviceId),
});

let authOn = true;
let live = true; // true also until the stream's state is known

function connectionWords(state, lastContact) {
  const old = lastContact
    ? ` The values below are from ${timeOfDay(lastContact)} or before.`
    : "";
  switch (state) {
    case "live":
      return "Live";
    case "lost":
      return `Connection lost, reconnecting…${old}`;
    case "silent":
      return `Stale: the server is silent, reconnecting…${old}`;
    case "restarting":
      return `The server is restarting, reconnecting…${old}`;
    case "logged-out":
      return `Logged out.${old}`;
    default:
      return "Connecting…";
  }
}

/** Show in the tab's title whether all is well. A hidden tab is not drawn, but its timers run. */
function showTitle() {
  const { problems } = countZones(zones);
  const title = `${live ? "" : "Not live – "}${problems ? `(${problems}) ` : ""}${TITLE}`;
  if (document.title !== title) document.title = title;
}

function showConnection(state, lastContact) {
  connection.dataset.state = state;
  document.body.dataset.live = String(state === "live");
  connectionText.textContent = connectionWords(state, lastContact);
  zones.setLive(state === "live");
  live = state === "live" || state === "connecting";
  showTitle();
  if (state === "logged-out") goToLogin("ended");
}

function userWords({ user, kind }) {
  if (!authOn) return "Log-in is off: everyone may change setpoints";
  if (kind === "display") return user.username.replace(/^display:/, "Display ");
  return `${user.username} (${user.role})`;
}

function showUser({ user, kind }) {
  userText.textContent = userWords({ user, kind });
  logoutButton.hidden = !authOn || kind === "display";
  form.show(MAY_SET.has(user.role));
  cards.mayEdit(MAY_SET.has(user.role));
}

/** Ask for the user again and show the answer: the role may have changed. */
async function session() {
  const answer = await askSession();
  if (answer.user) showUser(answer);
  return answer;
}

function receive(name, data) {
  if (name === "hello") {
    zones.hello(data);
    sessionNotice.hide(); // a new stream says it again if the session still ends soon
  }
  if (name === "heartbeat") zones.heartbeat(data);
  if (name === "session") sessionNotice.show(data);
  if (name === "snapshot") {
    zones.snapshot(data);
    cards.touch();
    form.showCurrent();
  }
  if (name === "telemetry" || name === "setpoint" || name === "zone") {
    const changed = zones[name](data);
    if (changed !== null) cards.touch(changed);
    if (changed !== null && name === "setpoint") {
      form.showCurrent();
      cards.announce(changed, `set by ${data.updated_by}`);
    }
  }
}

const stream = new LiveStream("/api/sse/telemetry", {
  onEvent: receive,
  onState: showConnection,
  askSession: session,
});

async function logOut() {
  logoutButton.disabled = true;
  stream.stop();
  const answer = await postJson("/auth/logout", {});
  if (answer.status === 200) {
    location.replace("/auth/login?reason=out");
    return;
  }
  logoutButton.disabled = false;
  cards.announce("Log out", errorWords(answer));
  userText.textContent = `Not logged out: ${errorWords(answer)}`;
  stream.start();
}

async function begin() {
  const [health, answer] = await Promise.all([getJson("/api/health"), askSession()]);
  if (answer.out) {
    goToLogin(answer.status === 400 ? "" : answer.status === 423 ? "locked" : "ended");
  } else if (health.status !== 200 || !answer.user) {
    showConnection("lost", 0);
    setTimeout(begin, RETRY_MS * (1 + Math.random()));
  } else {
    authOn = health.body.services?.auth !== false;
    showUser(answer);
    stream.start();
  }
}

logoutButton.addEventListener("click", logOut);
// A page from the browser's back/forward cache continues, unless its stream had been stopped.
addEventListener("pageshow", (event) => {
  if (event.persisted && !stream.started) location.reload();
});
setInterval(() => {
  cards.tick();
  showTitle();
}, TICK_MS);
begin();
