// Says how the connection is, and how old what is shown is then.

import { timeOfDay } from "./units.js";

/** The words for a state of stream.js. */
export function connectionWords(state, lastContact, reason) {
  const old = lastContact
    ? ` The values below are from ${timeOfDay(lastContact)} or before.`
    : "";
  switch (state) {
    case "live":
      return "Live";
    case "lost":
      return `Connection lost, reconnecting…${reason && ` ${reason}`}${old}`;
    case "silent":
      return `Stale: the server is silent, reconnecting…${old}`;
    case "restarting":
      return `The server is restarting, reconnecting…${old}`;
    case "logged-out":
      return `Logged out.${old}`;
    default:
      return "Connecting…";
  }
}
