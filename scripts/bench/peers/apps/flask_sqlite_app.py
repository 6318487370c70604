"""A threaded Flask server that commits each reading by itself.

`flask_sqlite_app.py PORT FILE 1.0|1.1`: the last one is the version of HTTP. `flask run` speaks
1.0, a connection a request.
"""

from __future__ import annotations

import sqlite3
import sys
import time

from flask import Flask, Response, jsonify, request
from werkzeug.serving import WSGIRequestHandler, make_server

SCHEMA = """
CREATE TABLE telemetry (id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp REAL, temp_tenths INTEGER,
    setpoint_tenths INTEGER, deadband_tenths INTEGER, cool_active BOOLEAN, heat_active BOOLEAN,
    state TEXT, sensor_ok BOOLEAN);
CREATE INDEX telemetry_by_time ON telemetry (timestamp);
"""
INSERT = """
INSERT INTO telemetry (timestamp, temp_tenths, setpoint_tenths, deadband_tenths, cool_active,
    heat_active, state, sensor_ok) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
SETPOINT_TENTHS, DEADBAND_TENTHS = 230, 10

app = Flask(__name__)
file = sys.argv[2]


@app.post("/api/sensor_data")
def sensor_data() -> Response:
    """Store the reading, answer the command."""
    reading = request.get_json()
    temp_tenths = reading["temp_tenths"]
    cool = temp_tenths > SETPOINT_TENTHS + DEADBAND_TENTHS
    heat = temp_tenths < SETPOINT_TENTHS - DEADBAND_TENTHS
    row = (time.time(), temp_tenths, SETPOINT_TENTHS, DEADBAND_TENTHS, cool, heat, "IDLE", True)
    connection = sqlite3.connect(file)
    try:
        connection.execute(INSERT, row)
        connection.commit()
    finally:
        connection.close()
    return jsonify(
        cool_active=cool,
        heat_active=heat,
        setpoint_tenths=SETPOINT_TENTHS,
        deadband_tenths=DEADBAND_TENTHS,
    )


class Quiet(WSGIRequestHandler):
    """No line for each request."""

    protocol_version = f"HTTP/{sys.argv[3]}"

    def log_request(self, *_: object) -> None:
        """Nothing."""


if __name__ == "__main__":
    with sqlite3.connect(file) as connection:
        connection.executescript(SCHEMA)
    make_server(
        "127.0.0.1", int(sys.argv[1]), app, threaded=True, request_handler=Quiet
    ).serve_forever()
