"""Ten views copied from a Flask blueprint: synchronous functions that call stores and stream."""

from __future__ import annotations

import time

from quart import Blueprint, jsonify

from server.sync_api.flask_views import request
from server.sync_api.services import Services

TENANT = "default"


def blueprint(services: Services) -> Blueprint:
    """The views under /old. Each first sleeps for its `seconds` parameter, as a slow view would."""
    bp = Blueprint("old", __name__, url_prefix="/old")
    sse, telemetry, devices = services.sse, services.telemetry, services.devices

    @bp.get("/recent")
    def recent():
        wait()
        return jsonify(telemetry.query_recent(TENANT, request.args["device_id"]))

    @bp.get("/window")
    def window():
        wait()
        return jsonify(telemetry.query_window(TENANT, request.args["device_id"], 0, 2**41))

    @bp.get("/page")
    def page():
        wait()
        return telemetry.query_recent_paginated(TENANT, request.args["device_id"], 2)

    @bp.get("/statistics")
    def statistics():
        wait()
        return telemetry.get_device_statistics(TENANT, request.args["device_id"])

    @bp.post("/reading")
    def reading():
        wait()
        stored = telemetry.add_telemetry(TENANT, request.args["device_id"], request.get_json())
        return {"stored": stored}, 201

    @bp.get("/devices")
    def list_devices():
        wait()
        return jsonify(devices.list_devices(TENANT))

    @bp.get("/user")
    def user():
        wait()
        return services.users.get_user_by_username("admin") or ({"error": "unknown"}, 404)

    @bp.get("/locked")
    def locked():
        wait()
        return {"locked": services.users.is_user_locked("admin")}

    @bp.get("/audit")
    def audit():
        wait()
        logged = services.audit.log_event("LOOKED", username="admin")
        return {"logged": logged, "events": len(services.audit.query_events_by_type("LOOKED"))}

    @bp.get("/publish")
    def publish():
        """Publish `count` events, `pause` seconds apart; each contains the time of its sending."""
        wait()
        deliveries = 0
        for _ in range(int(request.args.get("count", "1"))):
            deliveries += sse.publish({"sent": time.monotonic()}, "telemetry")
            time.sleep(float(request.args.get("pause", "0")))
        return {"deliveries": deliveries}

    return bp


def wait() -> None:
    time.sleep(float(request.args.get("seconds", "0")))
