// Notices that the server has another version of the pages than this page is of.

import { isPersonHere } from "./activity.js";
import { subscribe } from "./live.js";

const LOOK_MS = 10_000;

/** Whether the files of this page's version are gone; false if nobody answers. */
async function isOld() {
  try {
    const answer = await fetch(import.meta.url, { method: "HEAD", cache: "no-store" });
    return answer.status === 404;
  } catch {
    return false;
  }
}

/** Load the page again where nobody uses it, now or later. */
function reloadWhenAlone() {
  if (!isPersonHere() && !document.querySelector("dialog[open]")) location.reload();
}

/** After each new beginning of the stream: call `onOld` once if the page is of an older version. */
export function watchVersion(onOld) {
  let [isFirst, isKnown] = [true, false];
  subscribe({
    async onEvent(name) {
      if (name !== "hello" || isKnown) return;
      if (!isFirst && (await isOld()) && !isKnown) {
        isKnown = true;
        onOld();
        reloadWhenAlone();
        setInterval(reloadWhenAlone, LOOK_MS);
      }
      isFirst = false;
    },
  });
}
