// The page of a display's link: makes this browser a display, and opens the wall display.
//
// The secret is behind the # of the address, which browsers send to no server: this script sends
// it. A link works once. A screen that opens it at each start is a display already.

import { askSession, errorWords, postJson } from "./api.js";
import { below } from "./root.js";

const RETRY_MS = 3000;
const notice = document.getElementById("notice");
const error = document.getElementById("error");

function fail(words) {
  notice.textContent = "";
  error.textContent = words;
}

async function begin() {
  const session = await askSession();
  if (session.kind === "display") {
    location.replace(below("/display"));
    return;
  }
  const secret = location.hash.slice(1);
  if (!secret) {
    fail("This link is not complete. Please open the whole link.");
    return;
  }
  const answer = await postJson("/auth/display", { secret });
  if (answer.status === 200) {
    location.replace(below("/display"));
  } else if (answer.status === 0 || answer.status >= 500) {
    // A wall screen may start before the server does, and nobody is there to reload it.
    fail(errorWords(answer));
    setTimeout(begin, RETRY_MS * (1 + Math.random()));
  } else if (answer.status === 404) {
    fail("This link was used already, or it has ended. Please make another one.");
  } else {
    fail(errorWords(answer));
  }
}

addEventListener("hashchange", begin);
begin();
