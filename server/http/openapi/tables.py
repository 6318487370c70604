"""Every operation, in the order of the docs: each one's curl line may need those before it."""

from __future__ import annotations

from server.http.openapi.notice_tables import NOTICES
from server.http.openapi.operations import (
    CSV,
    DEVICE,
    EVENTS,
    HTML,
    METRICS,
    PUBLIC,
    TEXT,
    TOKEN_OR_SESSION,
    Operation,
    Operations,
)

# The password of the examples' account `admin`.
PASSWORD = "a long walk by the sea"  # noqa: S105

SESSIONS: Operations = {
    "POST /auth/login": Operation(
        "log_in",
        "Log in and get a session",
        "The session is in the cookie `bas_session_id`; a program may send its value as the header"
        " `X-Session-ID` instead. Wrong passwords are answered more and more slowly, then locked.",
        body={"username": "admin", "password": PASSWORD},
        access=PUBLIC,
        headers={"Set-Cookie": "The session; a browser also gets one that names the port"},
    ),
    "GET /auth/status": Operation(
        "get_session",
        "Show the session's user and how long the session lasts",
        "Without a session the answer is 400 `NO_SESSION`, with one that has ended 401.",
        access="session",
    ),
    "POST /auth/password": Operation(
        "change_own_password",
        "Change the caller's own password",
        "All other sessions of the caller end.",
        body={"old_password": PASSWORD, "password": "a longer walk by the sea"},
    ),
    "POST /auth/logout": Operation(
        "log_out",
        "End the session",
        "Without a session the answer is the same.",
        body={},
        body_optional=True,
        access=PUBLIC,
        headers={"Set-Cookie": "Clears the session's cookies"},
    ),
}

READINGS: Operations = {
    "POST /api/sensor_data": Operation(
        "post_reading",
        "Send one reading and get the command for the relays",
        "A body that is not quite right is read as the safest command that it allows: a wrong or"
        " missing value is a fault, answered with 200 and both relays off. So is a body that"
        " cannot be read, if it comes with a device's key.",
        body={"temp_tenths": 241, "sensor_ok": True, "device_id": "lab"},
        access=DEVICE,
    ),
    "POST /api/sensor_data/batch": Operation(
        "post_readings",
        "Send up to 1,000 readings of any devices",
        "A JSON array or, with Content-Type application/x-ndjson, one object a line. Each device's"
        " newest reading decides. A row that is not accepted is in `errors`; it delays no other.",
        body=[
            {"temp_tenths": 238, "sensor_ok": True, "device_id": "shed"},
            {"temp_tenths": 240, "sensor_ok": True, "device_id": "cellar"},
            {"temp_tenths": None, "sensor_ok": False, "device_id": "boiler"},
        ],
        access=DEVICE,
        body_types=("application/x-ndjson",),
        body_rule={"minItems": 1, "maxItems": 1000},
    ),
}

ZONES: Operations = {
    "GET /api/status": Operation(
        "get_status",
        "Show a zone's last known state",
        "Without `device_id`: of the zone that posted last. Without a session: of tenant default.",
        query="device_id=lab",
        access=PUBLIC,
    ),
    "GET /api/config": Operation(
        "get_config",
        "Show the values by which a zone is controlled",
        query="device_id=lab",
        access=PUBLIC,
    ),
    "GET /api/zones": Operation(
        "list_zones",
        "List the zones: name, location, and what is known of the device",
        "The tenant's zones, and its registered devices that never posted, in a fixed order.",
        query="limit=2",
    ),
    "GET /api/zones/<device:device_id>": Operation(
        "get_zone",
        "Show a zone's name, location and thresholds",
        "A slash in the path is a part of the device's name.",
        path={"device_id": "lab"},
    ),
    "PATCH /api/zones/<device:device_id>": Operation(
        "change_zone",
        "Name a zone, say where it is, set its thresholds",
        "With a `version` that is not the present one the answer is 409 `STALE_VERSION`, and `zone`"
        " in it has the present settings. Clients of the stream get an event `settings`.",
        path={"device_id": "lab"},
        body={"name": "Laboratory", "location": "Ground floor", "high_tenths": 280},
        body_rule={
            "anyOf": [
                {"required": [field]} for field in ("name", "location", "high_tenths", "low_tenths")
            ]
        },
    ),
    "DELETE /api/zones/<device:device_id>": Operation(
        "delete_zone",
        "Delete a zone with its name, its location and its setpoint",
        "With `history=true` its readings too. A device that still posts makes a new zone, and its"
        " relays stay as they are until its next post. Its registration and its keys stay.",
        path={"device_id": "cellar"},
    ),
    "GET /api/zones.csv": Operation(
        "export_zones",
        "Get all zones as a CSV file",
        "Name, location, setpoint, deadband and thresholds of each; a spreadsheet calculates"
        " nothing in it.",
        content=CSV,
        headers={"Content-Disposition": "The file's name"},
    ),
    "POST /api/zones.csv": Operation(
        "import_zones",
        "Change zones by a CSV file",
        "With `dry_run=true` the answer says what would change and which lines are refused. Without"
        " it a file with a refused line changes nothing. `left` counts the lines for which the time"
        " was too short; the same file changes these.",
        query="dry_run=true",
        body={"csv": "device_id,name,setpoint_c\nlab,Laboratory,21.5\n"},
    ),
    "POST /api/set_setpoint": Operation(
        "set_setpoint",
        "Set the setpoint, the deadband or both",
        "Without `device_id`: of every zone of the tenant, and of new ones. `{}` changes nothing.",
        body={"setpoint_tenths": 225, "device_id": "lab"},
        body_optional=True,
        body_rule={
            "anyOf": [
                {"required": ["setpoint_tenths"]},
                {"required": ["deadband_tenths"]},
                {"maxProperties": 0},
            ]
        },
    ),
}

HISTORY: Operations = {
    "GET /api/telemetry": Operation(
        "list_readings",
        "List the newest readings",
        query="device_id=lab&limit=2",
    ),
    "GET /api/telemetry/window": Operation(
        "list_readings_in_window",
        "List the readings between two times, newest first",
        query="device_id=lab&start=1700000000000&limit=2",
        headers={"X-Has-More": "true if the window has more readings than were asked for"},
    ),
    "GET /api/telemetry/paginated": Operation(
        "list_readings_by_page",
        "List the readings page by page, newest first",
        "`last_doc_id` of a page is `start_after` of the next one; it is null at the end.",
        query="device_id=lab&limit=2",
    ),
    "GET /api/telemetry/statistics": Operation(
        "get_statistics",
        "Sum up the readings of a time window",
        query="device_id=lab&hours=24",
    ),
    "GET /api/telemetry/series": Operation(
        "get_series",
        "Get a chart's points",
        "A `device_id` that is repeated gives an array of charts.",
        query="device_id=lab&points=3",
    ),
    "GET /api/telemetry/setpoints": Operation(
        "list_setpoints",
        "List when a zone's setpoint or deadband changed",
        "The first one is what was in force at `start`. A value that was in force for less than a"
        " 240th of the span may be missing, in Firestore or if there are many.",
        query="device_id=lab",
    ),
    "GET /api/telemetry/export.csv": Operation(
        "export_readings",
        "Get a device's readings as a CSV file, oldest first",
        query="device_id=lab",
        content=CSV,
        headers={"Content-Disposition": "The file's name"},
    ),
}

STREAM: Operations = {
    "GET /api/sse/telemetry": Operation(
        "stream_events",
        "Follow the zones live",
        "Server-sent events. A client that reconnects with the id of its last event, as the header"
        " `Last-Event-ID` or `last_event_id`, gets the events that it missed.",
        query="device_id=lab",
        content=EVENTS,
    ),
}

DEVICES: Operations = {
    "POST /api/devices/register": Operation(
        "register_device",
        "Register a device",
        body={"device_id": "attic", "metadata": {"floor": 3, "room": "under the roof"}},
    ),
    "GET /api/devices": Operation("list_devices", "List the devices that are registered or post"),
    "POST /api/devices/key": Operation(
        "rotate_device_key",
        "Give a device a new key",
        "The key is in no later answer. An earlier key stays valid until the new one is used, at"
        " most for a day.",
        body={"device_id": "attic"},
    ),
    "POST /api/devices/key/revoke": Operation(
        "revoke_device_keys",
        "Revoke all keys of a device",
        "The device is refused until it has a new key.",
        body={"device_id": "attic"},
    ),
    "POST /api/devices/delete": Operation(
        "delete_device",
        "Delete a device with its keys, its zone and its setpoint",
        "Its readings stay.",
        body={"device_id": "attic"},
    ),
}

TOKENS: Operations = {
    "POST /api/tokens": Operation(
        "create_token",
        "Create a token for a program, or a link for a wall display",
        "The secret is in no later answer. A program sends it as `Authorization: Bearer`.",
        body={"name": "bridge", "role": "operator", "zones": ["lab"]},
    ),
    "GET /api/tokens": Operation("list_tokens", "List the tokens of the tenant"),
    "DELETE /api/tokens/<name>": Operation(
        "revoke_token",
        "Revoke a token or a display",
        "It ends within 5 s on every process, and so do its streams.",
        path={"name": "bridge"},
    ),
}

ACCOUNTS: Operations = {
    "POST /api/users": Operation(
        "create_user",
        "Create an account",
        body={"username": "eve", "password": "rain on the tin roof", "role": "operator"},
    ),
    "GET /api/users": Operation("list_users", "List the accounts of the tenant", query="limit=10"),
    "GET /api/users/<username>": Operation("get_user", "Show an account", path={"username": "eve"}),
    "PATCH /api/users/<username>": Operation(
        "change_user",
        "Change an account's role, disable or enable it",
        path={"username": "eve"},
        body={"role": "read-only"},
        body_rule={"minProperties": 1},
    ),
    "POST /api/users/<username>/password": Operation(
        "set_user_password",
        "Set another user's password",
        path={"username": "eve"},
        body={"password": "snow on the tin roof"},
    ),
    "POST /api/users/<username>/unlock": Operation(
        "unlock_user",
        "Unlock an account after too many wrong passwords",
        path={"username": "eve"},
    ),
    "DELETE /api/users/<username>/sessions": Operation(
        "end_user_sessions",
        "End all sessions of an account",
        path={"username": "eve"},
    ),
    "DELETE /api/users/<username>": Operation(
        "delete_user", "Delete an account and end its sessions", path={"username": "eve"}
    ),
}

# The first alarm for a sensor fault of the device `boiler`.
ALARM_ID = "c074f11e4927c96b327ee140-1"

ALARMS: Operations = {
    "GET /api/alarms": Operation(
        "list_alarms",
        "List alarms page by page, the last changed first",
        "`state=open` lists pending, active and acknowledged ones. A zone has at most one open"
        " alarm of each kind.",
        query="state=open&limit=1",
    ),
    "POST /api/alarms/<alarm_id>/acknowledge": Operation(
        "acknowledge_alarm",
        "Say that an active alarm is seen",
        "Doing it again changes nothing. A pending alarm is answered with 409 `ALARM_PENDING`, one"
        " that is over with 409 `ALARM_OVER`.",
        path={"alarm_id": ALARM_ID},
        body={},
        body_optional=True,
    ),
    "POST /api/alarms/<alarm_id>/shelve": Operation(
        "shelve_alarm",
        "Send no notices of an alarm for some time",
        "It stays in the list. If it ends and comes again in this time, it is still shelved.",
        path={"alarm_id": ALARM_ID},
        body={"seconds": 3600},
    ),
    "POST /api/alarms/<alarm_id>/comment": Operation(
        "comment_alarm",
        "Add a remark to an alarm, also to one that is over",
        "A remark that the user has just made is not added again. An alarm has at most 20.",
        path={"alarm_id": ALARM_ID},
        body={"text": "The cable was loose."},
    ),
}

AUDIT: Operations = {
    "GET /api/audit": Operation(
        "list_audit_entries_by_page",
        "List the audit log page by page, newest first",
        query="action=USER_CREATED&limit=1",
    ),
    "GET /api/audit/recent": Operation(
        "list_audit_entries", "List the newest entries of the audit log", query="limit=1"
    ),
}

HEALTH: Operations = {
    "GET /api/health": Operation("get_health", "Show the server's health", access=PUBLIC),
    "GET /healthz": Operation("is_alive", "Answer if the process runs", access=PUBLIC),
    "GET /readyz": Operation(
        "is_ready",
        "Say whether the server is ready, and what is wrong",
        "503 if readings cannot be stored or the process is ending.",
        access=PUBLIC,
    ),
    "GET /api/system": Operation(
        "get_system",
        "Show an admin the server, and what is open to strangers",
        "Its version, its stores, its clock and the room on its disk.",
    ),
    "GET /metrics": Operation(
        "get_metrics",
        "Get the process's figures for Prometheus",
        "Open to this machine, and with BAS_METRICS_TOKEN as a bearer token.",
        access=METRICS,
        content=TEXT,
    ),
    "GET /api/metrics/zones": Operation(
        "get_zone_metrics",
        "Get the zones' figures for Prometheus",
        access=TOKEN_OR_SESSION,
        content=TEXT,
    ),
}

PAGES: Operations = {
    "GET /": Operation("get_dashboard", "Get the dashboard", access=PUBLIC, content=HTML),
    "GET /auth/login": Operation(
        "get_login_page", "Get the page to log in", access=PUBLIC, content=HTML
    ),
}

# The tag of each table, and what it is about.
TABLES: dict[str, tuple[str, Operations]] = {
    "sessions": ("Log in and out", SESSIONS),
    "readings": ("What devices send", READINGS),
    "zones": ("The zones' present state, and setpoints", ZONES),
    "history": ("Stored readings", HISTORY),
    "stream": ("Live events", STREAM),
    "devices": ("Registered devices", DEVICES),
    "tokens": ("Tokens of programs and wall displays, for admins", TOKENS),
    "notices": ("Where notices of alarms go, for admins", NOTICES),
    "accounts": ("Accounts of the tenant, for admins", ACCOUNTS),
    "alarms": ("Alarms of zones and of the site", ALARMS),
    "audit": ("The audit log, for admins", AUDIT),
    "health": ("Health and figures of the server", HEALTH),
    "pages": ("Pages for browsers", PAGES),
}
