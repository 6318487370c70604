// The SharedWorker that holds the live streams of this browser: one for all pages of a session.

import { askSession } from "./api.js";
import { StreamHub } from "./stream_hub.js";

const hubs = new Map(); // by the name of a session

function hubOf(session, lastId) {
  // Those of sessions that have no page any more.
  for (const [name, hub] of hubs) {
    if (name === session || hub.size > 0) continue;
    hub.close();
    hubs.delete(name);
  }
  if (!hubs.has(session)) hubs.set(session, new StreamHub(askSession, lastId));
  return hubs.get(session);
}

addEventListener("connect", (event) => {
  const [port] = event.ports;
  const send = (message) => port.postMessage(message);
  let hub = null;
  port.onmessage = ({ data }) => {
    if (data.join) {
      hub = hubOf(data.join, data.lastId);
      hub.join(send);
    } else if (data.leave) {
      hub?.leave(send);
    } else if (!hub?.answered(send)) {
      send({ rejoin: true });
    } else if (data.ask) {
      send({ ping: true });
    }
  };
});
