"""A small Flask application written for the old server: it uses nothing of the new one."""

from __future__ import annotations

import hashlib
import threading
import time

from flask import Flask, Response, abort, jsonify, redirect, request

app = Flask(__name__, static_folder=None)
# The tests read these.
closed = threading.Event()
served = threading.Semaphore(0)
taken: list[int] = []
LARGE = 1_000_000


@app.route("/legacy/echo", methods=["GET", "POST"])
def echo():
    return jsonify(
        method=request.method,
        path=request.path,
        args=request.args.to_dict(flat=False),
        json=request.get_json(silent=True),
        size=len(request.get_data()),
        cookies=request.cookies.to_dict(),
        header=request.headers.get("X-Test"),
        address=request.remote_addr,
        url=request.url,
        thread=threading.current_thread().name,
    )


@app.get("/legacy/Grüße/<name>")
def greet(name):
    return f"Grüße, {name}"


@app.post("/legacy/digest")
def digest():
    return hashlib.sha256(request.get_data()).hexdigest()


@app.get("/legacy/slow")
def slow():
    time.sleep(float(request.args["seconds"]))
    return "slow"


@app.get("/legacy/pieces")
def pieces():
    def make():
        for number in range(5):
            yield f"piece {number}\n"

    return Response(make(), mimetype="text/plain")


@app.get("/legacy/endless")
def endless():
    """An endless body, produced as fast as the server takes it; `taken` counts the pieces."""

    def make():
        try:
            while True:
                taken.append(1)
                yield b"x" * 65536
        finally:
            closed.set()

    return Response(make(), mimetype="application/octet-stream")


@app.get("/legacy/large")
def large():
    return b"x" * LARGE


@app.get("/legacy/headers")
def headers():
    answer = Response("own headers", headers={"X-Frame-Options": "SAMEORIGIN", "Date": "yesterday"})
    answer.set_cookie("first", "1")
    answer.set_cookie("second", "2")
    return answer


@app.get("/legacy/page")
def page():
    return "<script>inline()</script>"


@app.get("/legacy/gone")
def gone():
    abort(410)


@app.get("/legacy/moved")
def moved():
    return redirect("/legacy/echo")


@app.get("/legacy/empty")
def empty():
    return "", 204


@app.get("/legacy/half")
def half():
    def make():
        yield b"half of it"
        raise KeyError("a bug in the middle")

    return Response(make(), mimetype="text/plain")


@app.get("/legacy/publish")
def publish():
    services = request.environ["bas.services"]
    assert app.extensions["bas"] is services
    return jsonify(deliveries=services.sse.publish({"from": "legacy"}, "telemetry"))


@app.get("/static/old.css")
def stylesheet():
    return Response("old {}", mimetype="text/css")


@app.get("/api/status")
def status():
    return "the old status, which nobody sees"


def injecting(environ, start_response):
    """A WSGI application whose response header contains a line break."""
    start_response("302 Found", [("Location", "/\r\nSet-Cookie: forged=1")])
    return [b""]


def leaving(environ, start_response):
    """A WSGI application that tries to end the process."""
    raise SystemExit(3)


def broken(environ, start_response):
    """A WSGI application that raises an exception, without a framework that catches it."""
    raise KeyError("a bug")
