"""Flask-SSE as its documentation shows it; REDIS_URL names the Redis."""

from __future__ import annotations

import itertools
import os

from flask import Flask, request
from flask_sse import sse

app = Flask(__name__)
app.config["REDIS_URL"] = os.environ["REDIS_URL"]
app.register_blueprint(sse, url_prefix="/stream")
numbers = itertools.count(1)


@app.post("/publish")
def publish() -> str:
    """The body is the event's data."""
    body = request.get_data(as_text=True)
    sse.publish(body, type="telemetry", id=f"flask-{next(numbers)}")
    return "ok"
