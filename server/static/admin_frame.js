// What the pages of administration share: who may see them, their states, and their lists.

import { below } from "./root.js";
import "./shell.js";

import { errorWords, getJson, goToLogin, sendJson } from "./api.js";
import { element, say } from "./elements.js";
import { subscribe } from "./live.js";
import { timeShort, timeWhole } from "./units.js";

const message = document.getElementById("admin-message");
const content = document.getElementById("admin-content");
const actions = document.getElementById("admin-actions");

/** A request that the server refused or did not answer; its message is for people. */
export class Failed extends Error {
  constructor(answer, known = {}) {
    super(known[answer.body.code] ?? errorWords(answer));
    this.answer = answer;
  }
}

/** The body of an answer. Raises Failed; without a session it opens the log-in page. */
export async function call(method, path, body, known) {
  const answer = await (method === "GET" ? getJson(path) : sendJson(method, path, body));
  if (answer.status === 401) goToLogin("ended");
  if (answer.status !== 200) throw new Failed(answer, known);
  return answer.body;
}

/** All parts of a list that comes in pages of {data, last_doc_id}; at most `most` of them. */
export async function allOf(path, most = 2000) {
  const found = [];
  let after = "";
  do {
    const page = await call("GET", `${path}${path.includes("?") ? "&" : "?"}limit=500${after}`);
    found.push(...page.data);
    after = page.last_doc_id ? `&start_after=${encodeURIComponent(page.last_doc_id)}` : "";
  } while (after && found.length < most);
  return found;
}

/**
 * Run a page: `load()` gets its data and `render(data)` returns its elements, again after each
 * change. `buttons` are those beside the title. Returns a function that loads again and says what
 * was done.
 */
export function adminPage({ load, render, buttons = [], onEvent }) {
  let mayBegin = true;
  const again = async (done = "") => {
    try {
      const data = await load();
      put([render(data)].flat(), buttons);
      say(message, done, done ? "success" : "");
    } catch (error) {
      if (!(error instanceof Failed)) throw error;
      const retry = button("Try again", () => {
        say(message, "Loading…");
        again();
      });
      put([retry]);
      say(message, `This could not be loaded. ${error.message}`, "error");
    }
  };
  subscribe({
    onSession({ user }) {
      if (user.role !== "admin") refuse(user);
      else if (mayBegin) again();
      mayBegin = false;
    },
    onEvent,
  });
  return again;
}

const nameOf = (one) => one.id || one.getAttribute("aria-label") || one.textContent;

/** Show these elements. The focus stays on what has the same name, or else goes to the title: never to nothing. */
function put(shown, beside = [...actions.children]) {
  const focused = document.activeElement;
  const hadFocus = content.contains(focused) || actions.contains(focused);
  content.replaceChildren(...shown);
  actions.replaceChildren(...beside);
  if (!hadFocus) return;
  const name = nameOf(focused);
  const candidates = [actions, content].flatMap((part) => [...part.querySelectorAll("a, button, input, select")]);
  const same = candidates.find((one) => nameOf(one) === name);
  (same ?? document.querySelector("h1")).focus();
}

function refuse(user) {
  document.querySelector(".sections").hidden = true;
  say(message, `This page is for admins. You are logged in as ${user.username} (${user.role}).`, "warn");
  content.replaceChildren(element("p", "", {}, [element("a", "Go to the overview", { href: below("/") })]));
}

/** A button; what its act could not do is said in the page's message. */
export function button(words, act, { kind = "", label = null } = {}) {
  const made = element("button", words, { type: "button", class: kind, "aria-label": label });
  made.addEventListener("click", async () => {
    try {
      await act();
    } catch (error) {
      if (!(error instanceof Failed)) throw error;
      say(message, error.message, "error");
    }
  });
  return made;
}

/** A moment for a cell; "never" for null. */
export function moment(ms, none = "never") {
  if (!ms) return none;
  const attributes = { datetime: new Date(ms).toISOString(), title: timeWhole(ms) };
  return element("time", timeShort(ms), attributes);
}

/** A list: `columns` are [name, cell(item)], where a cell is a text, an element or an array. */
export function list(caption, columns, items, empty) {
  if (items.length === 0) return element("p", empty, { class: "blank" });
  const heads = columns.map(([name]) => element("th", name, { scope: "col" }));
  const rows = items.map((item) => element("tr", "", {}, columns.map(([name, cell]) => {
    const found = cell(item);
    if (!Array.isArray(found)) return element("td", "", { "data-name": name }, [found]);
    return element("td", "", {}, [element("div", "", { class: "actions" }, found)]);
  })));
  const table = element("table", "", {}, [
    element("caption", caption, { class: "screen-reader-only" }),
    element("thead", "", {}, [element("tr", "", {}, heads)]),
    element("tbody", "", {}, rows),
  ]);
  return element("div", "", { class: "list" }, [table]);
}
