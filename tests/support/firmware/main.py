"""The firmware of a controller, for the MicroPython of a Pico W: it posts and obeys the answers.

Written for the tests after the contract's description of the firmware in the field; not a copy.
"""

import json
import socket
import time

import pins
import sensor
import settings

GIVES_UP_MS = 5000
PIECE = 1024


def reading():
    """Read the sensor and return the body of a post."""
    try:
        temp_tenths, sensor_ok = sensor.read_tenths(), True
    except sensor.SensorError:
        temp_tenths, sensor_ok = None, False
    return json.dumps(
        {"temp_tenths": temp_tenths, "sensor_ok": sensor_ok, "timestamp": time.ticks_ms()}
    )


def request(body):
    return (
        "POST /api/sensor_data HTTP/1.1\r\n"
        f"Host: {settings.HOST}:{settings.PORT}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Connection: close\r\n"
        "\r\n"
    ).encode() + body


def is_whole(answer):
    """Whether the body has the length that Content-Length says; chunks are not supported."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    _, found, value = head.lower().partition(b"content-length:")
    return bool(separator and found and len(body) >= int(value.split(b"\r\n")[0].decode()))


def post(body):
    """Post on a new connection; returns the received part of the answer, b"" after 5 s."""
    began = time.ticks_ms()
    answer = b""
    connection = socket.socket()
    try:
        connection.settimeout(GIVES_UP_MS / 1000)
        connection.connect(socket.getaddrinfo(settings.HOST, settings.PORT)[0][-1])
        connection.sendall(request(body))
        while not is_whole(answer):
            left = GIVES_UP_MS - time.ticks_diff(time.ticks_ms(), began)
            if left <= 0:
                return b""
            connection.settimeout(left / 1000)
            piece = connection.recv(PIECE)
            if not piece:
                break
            answer += piece
    except OSError:
        return b""
    finally:
        connection.close()
    return answer


def obey(answer):
    """Set the relays as the answer says; if it is not a command, return False and set none."""
    if b"200 OK" not in answer:
        return False
    try:
        command = json.loads(answer.split(b"\r\n\r\n", 1)[1])
        cool, heat = command["cool_active"], command["heat_active"]
    except (ValueError, LookupError):
        return False
    pins.switch("cool", cool)
    pins.switch("heat", heat)
    return True


def run():
    while True:
        body = reading()
        pins.end_cycle(body, obey(post(body.encode())))
        time.sleep_ms(settings.CYCLE_MS)


run()
