// The wall display: all zones in large letters, problems first, with nothing to press. More zones
// than fit are shown by turns.

import { connectionWords } from "./connection_words.js";
import { arrange, nameOrder } from "./listing.js";
import { subscribe, zones } from "./live.js";
import { celsius, timeShort } from "./units.js";
import { watchVersion } from "./updated.js";
import { condition, countConditions, isProblem, siteWords, stateWords } from "./zone_words.js";

const TICK_MS = 1000;
const TURN_S = 15;
const TILE = { width: 15, height: 11 }; // em of the page, at least
const ALL = { filter: "all", search: "", sort: "problems", grouped: false };

const part = (id) => document.getElementById(id);
const tiles = [];
let hasSnapshot = false;
let seconds = 0;
let frame = 0;

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** How many columns and rows of tiles fit, and are needed. */
function grid(count) {
  const em = parseFloat(getComputedStyle(document.body).fontSize);
  const { clientWidth, clientHeight } = document.querySelector("main");
  const columns = Math.max(1, Math.floor(clientWidth / (TILE.width * em)));
  const rows = Math.max(1, Math.floor(clientHeight / (TILE.height * em)));
  if (count >= columns * rows) return [columns, rows];
  const wide = Math.min(columns, Math.ceil(Math.sqrt(count * 1.4)));
  return [wide, Math.ceil(count / wide)];
}

function tile(index) {
  tiles[index] ??= part("tile").content.cloneNode(true).firstElementChild;
  return tiles[index];
}

function show(element, zone) {
  const now = condition(zone);
  set(element.querySelector(".name"), zone.title);
  set(element.querySelector(".where"), zone.location);
  const temperature = zone.hasReading ? celsius(zone.temp_tenths) : "–";
  set(element.querySelector(".temperature"), temperature);
  set(element.querySelector(".state"), stateWords(zone));
  element.dataset.condition = now;
  element.dataset.problem = String(isProblem(now));
  element.dataset.cooling = String(zone.cool_active);
}

function draw() {
  frame = 0;
  if (!hasSnapshot) return;
  const conditions = new Map([...zones].map((zone) => [zone, condition(zone)]));
  const counts = countConditions(conditions);
  set(part("site"), siteWords(counts) || "Building automation");
  part("site").dataset.well = String(counts.problems === 0);
  part("no-zones").hidden = counts.total > 0;
  const all = arrange(zones, ALL, nameOrder(zones), (zone) => conditions.get(zone));
  const [columns, rows] = grid(all.length || 1);
  const fit = columns * rows;
  const pages = Math.max(1, Math.ceil(all.length / fit));
  const page = Math.floor(seconds / TURN_S) % pages;
  set(part("page"), pages > 1 ? `${page + 1} of ${pages}` : "");
  const list = part("zones");
  list.style.setProperty("--columns", columns);
  list.style.gridTemplateRows = `repeat(${rows}, minmax(0, 1fr))`;
  const shown = all.slice(page * fit, (page + 1) * fit);
  for (const [index, { zone }] of shown.entries()) {
    show(tile(index), zone);
    if (!tile(index).isConnected) list.append(tile(index));
  }
  for (const gone of [...list.children].slice(shown.length)) gone.remove();
}

function plan() {
  if (!document.hidden) frame ||= requestAnimationFrame(draw);
}

subscribe({
  onEvent(name) {
    if (name === "snapshot") hasSnapshot = true;
    plan();
  },
  onNames: plan,
  onState(state, lastContact, reason) {
    part("connection").dataset.state = state;
    document.body.dataset.live = String(state === "live");
    set(part("connection-text"), connectionWords(state, lastContact, reason));
  },
  onSession({ user, kind }) {
    set(part("who"), kind === "display" ? user.username.replace(/^display:/, "Display ") : "");
  },
});
watchVersion(() => {}); // it loads itself again
addEventListener("resize", plan);
setInterval(() => {
  seconds += 1;
  set(part("clock"), timeShort(zones.now)); // the screen's own clock may be wrong
  plan();
}, TICK_MS);
