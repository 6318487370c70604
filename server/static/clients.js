// Programs that post as a device, to copy; pure. A `key` of null leaves the key out.

/** A shell line that posts one reading as the device. */
export function curlLine(server, deviceId, key) {
  const body = JSON.stringify({ device_id: deviceId, temp_tenths: 215, sensor_ok: true });
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  return [
    "curl", quoted(`${server}/api/sensor_data`),
    ...(key === null ? [] : ["-H", quoted(`Authorization: Bearer ${key}`)]),
    "-H", quoted("Content-Type: application/json"),
    "-d", quoted(body),
  ].join(" ");
}

// A literal of JSON with every other character escaped means the same text in Python.
const literal = (text) =>
  JSON.stringify(text).replace(/[^ -~]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** A program for MicroPython that posts every 2 s and obeys the answers; like that in README.md. */
export function microPython(server, deviceId, key) {
  return `# read_sensor() returns tenths of °C, or None: write it for your sensor
import time
import requests
from machine import Pin

URL = ${literal(`${server}/api/sensor_data`)}
HEADERS = {${key === null ? "" : `"Authorization": ${literal(`Bearer ${key}`)}`}}
cooler, heat = Pin(15, Pin.OUT, value=0), Pin(16, Pin.OUT, value=0)

while True:
    temp = read_sensor()
    body = {
        "device_id": ${literal(deviceId)},
        "temp_tenths": temp,
        "sensor_ok": temp is not None,
        "timestamp": time.ticks_ms(),
    }
    try:
        answer = requests.post(URL, json=body, headers=HEADERS, timeout=5)
        if answer.status_code == 200:
            command = answer.json()
            cooler.value(command["cool_active"])
            heat.value(command["heat_active"])
        answer.close()
    except OSError:
        cooler.value(0)  # no answer: choose what is safe in your building
    time.sleep(2)
`;
}
