// The audit log, with filters.

import { adminPage, button, call, list, moment } from "./admin_frame.js";
import { actionWords, detailWords } from "./audit_words.js";
import { element } from "./elements.js";

const PAGE = 100;
const DAY_MS = 86_400_000;
const SPANS = [["", "all time"], ["1", "the last day"], ["7", "the last 7 days"], ["30", "the last 30 days"]];

const filters = { user: "", action: "", days: "" };
let entries = [];
let next = null;

function filterForm() {
  const input = (name, label) => element("div", "", { class: "field" }, [
    element("label", label, { for: `filter-${name}` }),
    element("input", "", { id: `filter-${name}`, name, autocomplete: "off", maxlength: "256", list: name === "action" ? "actions" : null }),
  ]);
  const days = element("select", "", { id: "filter-days", name: "days" },
    SPANS.map(([value, words]) => element("option", words, { value })));
  const actions = [...new Set(entries.map(({ action }) => action))].sort();
  const form = element("form", "", { class: "filters" }, [
    input("user", "User"),
    input("action", "Action"),
    element("div", "", { class: "field" }, [element("label", "Time", { for: "filter-days" }), days]),
    element("button", "Show", { type: "submit", class: "primary" }),
    element("datalist", "", { id: "actions" }, actions.map((value) => element("option", "", { value }))),
  ]);
  for (const [name, value] of Object.entries(filters)) form.elements.namedItem(name).value = value;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    Object.assign(filters, Object.fromEntries(new FormData(form)));
    [entries, next] = [[], null];
    again();
  });
  return form;
}

async function load() {
  const query = new URLSearchParams({ limit: PAGE });
  if (filters.user.trim()) query.set("user", filters.user.trim());
  if (filters.action.trim()) query.set("action", filters.action.trim());
  if (filters.days) query.set("start", Date.now() - Number(filters.days) * DAY_MS);
  if (next) query.set("start_after", next);
  const page = await call("GET", `/api/audit?${query}`);
  entries.push(...page.data);
  next = page.last_doc_id;
}

function render() {
  const shown = [
    filterForm(),
    list("Audit log", [
      ["When", (entry) => moment(entry.timestamp)],
      ["Who", (entry) => entry.username || "–"],
      ["Did what", (entry) => `${actionWords(entry.action)}${entry.success ? "" : " – refused"}`],
      ["Details", (entry) => detailWords(entry.details) || "–"],
      ["From", (entry) => entry.address || "this machine"],
    ], entries, "No entry fits these filters."),
  ];
  if (next) shown.push(button("Older entries", () => again()));
  return shown;
}

const again = adminPage({ load, render });
