// Shows a device's new key, with clients that use it.

import { curlLine } from "./clients.js";
import { secretDialog } from "./dialogs.js";
import { below } from "./root.js";

export const SERVER = location.origin + below("");

/** What the QR code of a key has: server, device and key as JSON, for a tool that sets devices up. */
export function codeOf({ device_id: deviceId, key }) {
  return JSON.stringify({ url: SERVER, device_id: deviceId, key });
}

/** Show a key once, in a dialog. */
export function showKey(made) {
  const words = "The device sends it as Authorization: Bearer, or as X-Device-Key. It is shown only now.";
  const line = curlLine(SERVER, made.device_id, made.key);
  return secretDialog(`Key of ${made.device_id}`, words, made.key, codeOf(made), line);
}
