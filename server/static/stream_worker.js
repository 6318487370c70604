// The SharedWorker that holds the one live stream of all pages of this browser and session.

import { askSession } from "./api.js";
import { StreamHub } from "./stream_hub.js";

let hub = null;

addEventListener("connect", (event) => {
  const [port] = event.ports;
  const send = (message) => port.postMessage(message);
  port.onmessage = ({ data }) => {
    if (data.join) {
      hub ??= new StreamHub(askSession, data.lastId);
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
