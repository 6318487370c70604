// The frame of every page: who is logged in, the connection, the end of the session, and choices.

import "./alarm_signal.js";

import { errorWords, postJson } from "./api.js";
import { connectionWords } from "./connection_words.js";
import { onKey } from "./keys.js";
import { pause, resume, subscribe, zones } from "./live.js";
import { prefer, preference } from "./preferences.js";
import { below } from "./root.js";
import { SessionNotice } from "./session_notice.js";
import { siteTimeZone, span } from "./units.js";
import { watchVersion } from "./updated.js";

const CLOCK_OFF_MS = 120_000;
const RANKS = ["read-only", "operator", "admin"];

const part = (id) => document.getElementById(id);
const sessionNotice = new SessionNotice();

function showConnection(state, lastContact, reason = "") {
  part("connection").dataset.state = part("strip").dataset.state = state;
  document.body.dataset.live = String(state === "live");
  part("connection-text").textContent = connectionWords(state, lastContact, reason);
}

function userWords({ user, kind, authOn }) {
  if (!authOn) return "Log-in is off: everyone may change setpoints";
  if (kind === "display") return user.username.replace(/^display:/, "Display ");
  return `${user.username} (${user.role})`;
}

/** Elements with `data-for="operator"` are shown to operators and admins, and so on. */
function showSession(session) {
  part("who").textContent = userWords(session);
  part("logout").hidden = !session.authOn || session.kind === "display";
  const rank = RANKS.indexOf(session.user.role);
  for (const element of document.querySelectorAll("[data-for]")) {
    element.hidden = rank < RANKS.indexOf(element.dataset.for);
  }
}

async function logOut() {
  part("logout").disabled = true;
  pause();
  const answer = await postJson("/auth/logout", {});
  if (answer.status === 200) {
    location.replace(below("/auth/login?reason=out"));
    return;
  }
  part("logout").disabled = false;
  part("announcer").textContent = `Log out: ${errorWords(answer)}`;
  part("who").textContent = `Not logged out: ${errorWords(answer)}`;
  resume();
}

function showTimeZone() {
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const site = siteTimeZone();
  const same = site === "" || site === own || offset(site) === offset(own);
  part("time-zone").textContent = same
    ? ""
    : `Times are those of the site (${site}), not of this browser (${own}).`;
  part("time-zone").hidden = same;
}

function offset(timeZone) {
  return new Date(Math.floor(Date.now() / 6e4) * 6e4).toLocaleString("en", { timeZone });
}

/** A wrong clock of this machine changes nothing that the page shows, but a person may compare. */
function showClock() {
  const off = Date.now() - zones.now;
  const isOff = Math.abs(off) >= CLOCK_OFF_MS;
  part("clock-off").hidden = !isOff;
  part("clock-off").textContent = isOff
    ? `The clock of this machine is ${span(Math.abs(off))} ${off > 0 ? "ahead of" : "behind"} the server's.` +
      " The times on this page are the server's."
    : "";
}

function choices() {
  const { theme, units } = { theme: part("theme"), units: part("units") };
  theme.value = preference("theme");
  theme.addEventListener("change", () => {
    document.documentElement.dataset.theme = theme.value;
    prefer("theme", theme.value);
  });
  units.value = preference("units") || "C";
  units.addEventListener("change", () => prefer("units", units.value));
  part("keys-on").checked = preference("keys") !== "off";
  part("keys-on").addEventListener("change", () =>
    prefer("keys", part("keys-on").checked ? "" : "off"));
  part("keys-open").addEventListener("click", () => part("keys").showModal());
}

subscribe({
  onEvent(name, data) {
    if (name === "hello") sessionNotice.hide(); // a new stream says it again if it still ends soon
    if (name === "hello" || name === "heartbeat") showClock();
    if (name === "session") sessionNotice.show(data);
  },
  onState: showConnection,
  onSession: showSession,
});
part("logout").addEventListener("click", logOut);
part("reload").addEventListener("click", () => location.reload());
watchVersion(() => {
  part("updated").hidden = false;
});
choices();
showTimeZone();
onKey("?", "Show these keys", () => part("keys").showModal());
