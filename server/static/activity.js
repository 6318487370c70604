// Whether a person is at the page: real input by pointer or keys, within the last minute.

const RECENT_MS = 60_000;
const INPUTS = ["pointerdown", "pointermove", "keydown", "wheel", "touchstart"];

let last = -Infinity; // by performance.now()
const listeners = new Set();

/** A pointer that rests on the page "moves" too, by nothing, when the page changes under it. */
function isReal(event) {
  if (!event.isTrusted) return false;
  return event.type !== "pointermove" || event.movementX !== 0 || event.movementY !== 0;
}

function note(event) {
  if (!isReal(event)) return;
  last = performance.now();
  for (const listener of listeners) listener();
}

for (const type of INPUTS) addEventListener(type, note, { capture: true, passive: true });

export function isPersonHere() {
  return performance.now() - last < RECENT_MS;
}

/** Call `listener` at each real input. */
export function onInput(listener) {
  listeners.add(listener);
}
