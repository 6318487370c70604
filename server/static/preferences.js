// What this browser remembers of a person's choices: appearance, units, view. None is a secret.

const listeners = new Set();

/** A remembered choice; "" if there is none, or if the browser keeps nothing. */
export function preference(name) {
  try {
    return localStorage.getItem(`bas.${name}`) ?? "";
  } catch {
    return "";
  }
}

/** Remember a choice in this browser, and tell the page. */
export function prefer(name, value) {
  try {
    localStorage.setItem(`bas.${name}`, value);
  } catch {
    // Then it holds until the page is left.
  }
  for (const listener of listeners) listener(name, value);
}

/** Call `listener(name, value)` at each choice, also of another tab. */
export function onPreference(listener) {
  listeners.add(listener);
}

globalThis.addEventListener?.("storage", (event) => {
  if (!event.key?.startsWith("bas.")) return;
  for (const listener of listeners) listener(event.key.slice(4), event.newValue ?? "");
});
