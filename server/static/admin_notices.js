// Notice targets: where notices of alarms go, and whether a test arrives there.

import { adminPage, button, call, list } from "./admin_frame.js";
import { errorWords, sendJson } from "./api.js";
import { confirmed, formDialog } from "./dialogs.js";
import { element } from "./elements.js";
import { bodyOf, fieldsOf, getsWords, KINDS, addressWords } from "./notice_targets.js";

const PATH = "/api/notice-targets";
const path = ({ id }, more = "") => `${PATH}/${encodeURIComponent(id)}${more}`;
const TEST_MAX_MS = 20_000; // the server waits ten seconds
const results = new Map(); // by id: the last test, as [words, class]

const again = adminPage({
  load: () => call("GET", PATH),
  render: ({ data }) => list("Notice targets", [
    ["Name", ({ name }) => name],
    ["To", (target) => `${KINDS.get(target.kind) ?? target.kind}: ${addressWords(target)}`],
    ["Gets", getsWords],
    ["Last test", resultOf],
    ["Change", (target) => [
      button("Test", () => test(target), { label: `Test: ${target.name}` }),
      button("Change", () => change(target), { label: `Change: ${target.name}` }),
      button("Delete", () => remove(target), { kind: "danger", label: `Delete: ${target.name}` }),
    ]],
  ], data, "No notice of an alarm goes anywhere yet. Add a webhook, a topic of ntfy or an e-mail address."),
  buttons: [...KINDS].map(([kind, words]) => button(`New ${words}`, () => create(kind))),
});

function resultOf({ id }) {
  const [words, kind] = results.get(id) ?? ["not tried here", "hint"];
  return element("span", words, { class: kind });
}

async function create(kind) {
  const made = await formDialog(`New ${KINDS.get(kind)}`, fieldsOf(kind), "Create", (values) =>
    call("POST", PATH, bodyOf(kind, values)));
  if (made) await again(`${made.target.name} is made. Test it now.`);
}

async function change(target) {
  const { kind, name } = target;
  const done = await formDialog(`Change ${name}`, fieldsOf(kind, target), "Save", (values) =>
    call("PUT", path(target), bodyOf(kind, values)));
  if (done) await again(`${done.target.name} is changed.`);
}

async function remove(target) {
  const words = "It gets no notices any more, also not those that wait for it.";
  if (!(await confirmed(`Delete ${target.name}?`, words, "Delete"))) return;
  await call("DELETE", path(target));
  await again(`${target.name} is deleted.`);
}

async function test(target) {
  results.set(target.id, ["sending…", "hint"]);
  await again();
  const answer = await sendJson("POST", path(target, "/test"), undefined, TEST_MAX_MS);
  const { delivered, error, took_ms: took } = answer.body;
  if (answer.status !== 200) results.set(target.id, [errorWords(answer), "bad"]);
  else results.set(target.id, delivered ? [`arrived in ${took} ms`, "good"] : [`not delivered: ${error}`, "bad"]);
  await again();
  document.getElementById("announcer").textContent = `Test of ${target.name}: ${results.get(target.id)[0]}`;
}
