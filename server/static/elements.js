// Makes and changes elements. Texts are set as text, never as HTML: a device may send any name.

/** An element with a text, attributes and children; an attribute that is null is left out. */
export function element(name, text = "", attributes = {}, children = []) {
  const made = document.createElement(name);
  if (text !== "") made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** Change an element's text only if it differs, so that a screen reader does not say it again. */
export function show(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** A message of the kind "error", "success", "warn" or "" in an element of the class `message`. */
export function say(target, text, kind = "") {
  show(target, text);
  target.className = `message ${kind}`;
}
