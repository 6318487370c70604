"""Every call that code around the existing server makes, in the form in which it makes it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.component.sync_api.test_users_and_sessions import OLD_PASSWORD, SALT, pbkdf2

PAGE = Path(__file__).resolve().parents[3] / "docs" / "migration.md"
T, D = "default", "attic"
SENT = {"username": "olga", "ip_address": "10.0.0.7"}


def _calls(services: Any, now_ms: int) -> dict[str, bool]:
    """Make the calls; whether each returned what its caller expects, by service and name."""
    users, sessions, devices = services.users, services.sessions, services.devices
    telemetry, audit, sse = services.telemetry, services.audit, services.sse
    hashed = pbkdf2(OLD_PASSWORD)
    row = {"temp_tenths": 215, "sensor_ok": True}
    done: dict[str, bool] = {}

    def note(name: str, answer: object, expected: object = True) -> None:
        done[name] = answer == expected

    note("users.create_user", users.create_user("olga", hashed, SALT, role="admin"), "olga")
    found = users.get_user_by_username("olga")
    note("users.get_user_by_username", found["role"], "admin")
    note("users.get_by_username", users.get_by_username("olga"), found)
    note("users.get_user_by_id", users.get_user_by_id(found["user_id"]), found)
    note("users.update_user", users.update_user("olga", {"role": "operator"}))
    note("users.update_password", users.update_password("olga", pbkdf2("another horse"), SALT))
    note("users.update_last_login", users.update_last_login("olga"))
    note("users.increment_failed_attempts", users.increment_failed_attempts("olga"))
    note("users.clear_failed_attempts", users.clear_failed_attempts("olga"))
    about = {"ip_address": "10.0.0.7", "user_agent": "old"}
    made = sessions.create_session("olga", "olga", "operator", 1800, about)
    note("sessions.create_session", isinstance(made, str))
    note("sessions.get_session", sessions.get_session(made)["username"], "olga")
    environ = {"wsgi.url_scheme": "http", "HTTP_COOKIE": f"bas_session_id={made}"}
    note("sessions.of_request", sessions.of_request(environ)["username"], "olga")
    note("sessions.update_session_access", sessions.update_session_access(made))
    turned = sessions.rotate_session(made)
    note("sessions.rotate_session", isinstance(turned, str) and sessions.get_session(made) is None)
    note("sessions.invalidate_session", sessions.invalidate_session(turned))
    sessions.create_session("olga", "olga", "operator")
    note("sessions.invalidate_user_sessions", sessions.invalidate_user_sessions("olga"), 1)
    note("sessions.cleanup_expired_sessions", sessions.cleanup_expired_sessions(), 0)
    note("users.lock_user", users.lock_user("olga", now_ms + 60_000))
    note("users.is_user_locked", users.is_user_locked("olga"))
    note("users.delete_user", users.delete_user("olga"))

    note("telemetry.add_telemetry", telemetry.add_telemetry(T, D, row, timestamp_ms=now_ms - 1000))
    note("telemetry.query_recent", telemetry.query_recent(T, D, limit=10)[0]["temp_tenths"], 215)
    window = telemetry.query_window(T, D, now_ms - 2000, now_ms)
    note("telemetry.query_window", len(window), 1)
    page = telemetry.query_recent_paginated(T, D, 10)
    note("telemetry.query_recent_paginated", page["has_more"], False)
    statistics = telemetry.get_device_statistics(T, D)
    note("telemetry.get_device_statistics", statistics["total_records"], 1)
    note("telemetry.get_device_count", telemetry.get_device_count(T), 1)

    note("devices.register_device", devices.register_device(T, "shed", {"room": "1"}))
    note("devices.get_device", devices.get_device(T, "shed")["metadata"], {"room": "1"})
    note("devices.check_exists", devices.check_exists(T, "shed"))
    listed = devices.list_devices(T)
    note("devices.list_devices", [one["device_id"] for one in listed], [D, "shed"])
    note("devices.list_for_tenant", devices.list_for_tenant(T), listed)
    note("devices.set_status", devices.set_status(T, "shed", "inactive"))
    note("devices.update_last_seen", devices.update_last_seen(T, "shed"))

    note("audit.log_event", audit.log_event("OLD", username="olga", tenant_id=T))
    for name, arguments in {
        "log_auth_success": {**SENT, "session_id": "x" * 20},
        "log_auth_failure": {**SENT, "failure_reason": "WRONG"},
        "log_session_creation": {**SENT, "session_id": "x" * 20},
        "log_session_destruction": {"username": "olga", "session_id": "x" * 20},
        "log_permission_denied": {"username": "olga", "resource": "/old"},
        "log_tenant_violation": {"username": "olga", "attempted_tenant": "b"},
    }.items():
        note(f"audit.{name}", getattr(audit, name)(**arguments))
    note("audit.query_events_by_tenant", bool(audit.query_events_by_tenant(T)))
    note("audit.query_events_by_user", bool(audit.query_events_by_user("olga")))
    note("audit.query_events_by_type", len(audit.query_events_by_type("OLD")), 1)
    note("audit.query_recent_events", bool(audit.query_recent_events()))
    note(
        "audit.query_events_window",
        bool(audit.query_events_window(now_ms - 60_000, now_ms + 60_000)),
    )

    with sse.subscribe("client-1"):
        note("sse.subscribe", True)
        note("sse.subscriber_count", sse.subscriber_count(), 1)
        note("sse.publish", sse.publish({"a": 1}, "telemetry"), 1)
    note("sse.attach_redis", sse.attach_redis(object()), False)

    note("get_telemetry_service", services.get_telemetry_service() is telemetry)
    note("is_telemetry_enabled", services.is_telemetry_enabled())
    note("health_check", services.health_check()["status"], "healthy")
    note("bridge.call", services.bridge.call(_answer), 42)
    return done


async def _answer() -> int:
    return 42


async def test_every_legacy_call_does_what_its_caller_expects_and_the_page_names_it(
    container, in_thread, clock
):
    done = await in_thread(_calls, container.services, clock.now_ms())
    assert {name for name, fits in done.items() if not fits} == set()
    assert len(done) >= 52
    page = PAGE.read_text(encoding="utf-8")
    table = page[page.index("## The services") :]
    rows = re.findall(r"^\| `(\w+(?:\.\w+)?)` \| \S", table, re.MULTILINE)
    assert rows == list(dict.fromkeys(rows))
    assert set(rows) == set(done)
