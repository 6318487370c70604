// Asks for what a page behind the log-in needs first, while the page's other modules are still coming:
// the page names this file besides its module.

import { askSession, getJson } from "./api.js";

const ask = () => Promise.all([getJson("/api/health"), askSession()]);

function open() {
  const started = { port: null, hasFailed: false };
  const fail = () => {
    started.hasFailed = true;
    started.onError?.();
  };
  try {
    const url = new URL("stream_worker.js", import.meta.url);
    const worker = new SharedWorker(url, { type: "module" });
    started.port = worker.port;
    worker.addEventListener("error", fail);
  } catch {
    fail();
  }
  return started;
}

let asked = ask();
let opened = open();

/** Resolves to [health, session]; the first call gets the answers to the questions of the start. */
export function askedBefore() {
  const answers = asked ?? ask();
  asked = null;
  return answers;
}

/** The browser's SharedWorker: {port, hasFailed}, with `onError` to set. The first call gets the first one. */
export function sharedWorker() {
  const worker = opened ?? open();
  opened = null;
  return worker;
}
