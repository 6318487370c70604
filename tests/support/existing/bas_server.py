"""A small application in the shape of the existing server, under that server's own name.

It has its database, sessions, pages and a decorator around protected routes; one module imports it.
"""

from __future__ import annotations

import functools
import os
import sqlite3

from flask import Flask, jsonify, redirect, request, url_for

DATABASE = os.environ.get("EXISTING_DATABASE", "bas_telemetry.db")
app = Flask(__name__)


def require_auth(view):
    """The existing server's decorator; two lines are new: the session comes from the new server."""

    @functools.wraps(view)
    def protected(*args, **kwargs):
        sessions = request.environ["bas.services"].sessions
        request.session = sessions.of_request(request.environ)
        if request.session is None:
            return jsonify(error="Authentication required"), 401
        return view(*args, **kwargs)

    return protected


@app.get("/")
def index():
    return "the old dashboard"


@app.get("/api/status")
def status():
    return jsonify(old=True)


@app.get("/reports")
@require_auth
def reports():
    return jsonify(user=request.session["username"], readings=_readings())


@app.get("/moved")
def moved():
    return redirect(url_for("index"))


def _readings():
    connection = sqlite3.connect(DATABASE)
    try:
        query = "SELECT temp_tenths, state, sensor_ok FROM telemetry ORDER BY id"
        return connection.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []
    finally:
        connection.close()


# As in the existing server, further routes are in modules that import the application by its name.
import existing_routes  # noqa: E402, F401
