// Keys of the pages. A key works anywhere but where text is typed, and never with a modifier. A
// person whose voice or switch types letters can turn all keys off.

import { preference } from "./preferences.js";

const keys = new Map();

function typesText(element) {
  return element?.closest?.("input, select, textarea, dialog, [contenteditable]") != null;
}

/** Call `act()` when the key is pressed; the list that `?` opens shows `words` for it. */
export function onKey(key, words, act) {
  keys.set(key, act);
  const list = document.getElementById("keys-list");
  const line = document.createElement("div");
  line.append(document.createElement("dt"), document.createElement("dd"));
  const name = document.createElement("kbd");
  name.textContent = key;
  line.firstChild.append(name);
  line.lastChild.textContent = words;
  list.append(line);
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (typesText(event.target) || preference("keys") === "off") return;
  const act = keys.get(event.key);
  if (act === undefined) return;
  event.preventDefault();
  act(event);
});
