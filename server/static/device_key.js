// Shows a device's new key, with a client that uses it.

import { secretDialog } from "./dialogs.js";
import { below } from "./root.js";

const SERVER = location.origin + below("");

/** A shell line that posts one reading as the device. */
function curlLine(origin, deviceId, key) {
  const body = JSON.stringify({ device_id: deviceId, temp_tenths: 215, sensor_ok: true });
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  return [
    "curl", quoted(`${origin}/api/sensor_data`),
    "-H", quoted(`Authorization: Bearer ${key}`),
    "-H", quoted("Content-Type: application/json"),
    "-d", quoted(body),
  ].join(" ");
}

/** Show a key once; its QR code has server, device and key as JSON, for a tool that sets devices up. */
export function showKey({ device_id: deviceId, key }) {
  const code = JSON.stringify({ url: SERVER, device_id: deviceId, key });
  const words = "The device sends it as Authorization: Bearer, or as X-Device-Key. It is shown only now.";
  const line = curlLine(SERVER, deviceId, key);
  return secretDialog(`Key of ${deviceId}`, words, key, code, line);
}
