"""Who may call which route: one row for each route and method, and how everyone else is refused.

A route without a row fails `test_access.py`. HEAD has the rights of GET; OPTIONS is open to
everyone and changes nothing; every other method of a path is refused with 405.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tests.component.security.principals import (
    ADMIN,
    ALARM_ID,
    DISPLAY,
    DISPLAY_REVOKED,
    ENDED,
    EVERYONE,
    EXPIRED,
    FOREIGN_KEY,
    GONE,
    INTRUDER,
    KEYS,
    LEAVER,
    LIMITED,
    NOBODY,
    OPERATOR,
    OTHER_KEY,
    OURS,
    OWN_KEY,
    READER,
    SESSIONS,
    SPARE,
    STRANGER,
    TOKEN_EXPIRED,
    TOKEN_FOREIGN,
    TOKEN_OF_ZONE,
    TOKEN_OPERATOR,
    TOKEN_READER,
    TOKEN_REVOKED,
    VISITOR,
)
from tests.conftest import PASSWORD

Refusal = tuple[int, str]
"""Status and code."""
Refused = Mapping[str, Refusal]
"""How each of some principals is refused; all others are allowed."""

NO_ID = (401, "INVALID_SESSION_ID")
NO_LONGER_VALID = (401, "SESSION_INVALID")
ROLE_TOO_LOW = (403, "PERMISSION_DENIED")
OTHER_TENANT = (403, "TENANT_ACCESS_DENIED")
KEY_REQUIRED = (401, "DEVICE_KEY_REQUIRED")
OTHER_ZONE = (403, "ZONE_ACCESS_DENIED")
WRONG_DEVICE = (403, "DEVICE_MISMATCH")


def each(who: Iterable[str], refusal: Refusal) -> Refused:
    """The same refusal for several principals."""
    return dict.fromkeys(who, refusal)


def without(refused: Refused, *who: str) -> Refused:
    """The refusals of all others."""
    return {name: refusal for name, refusal in refused.items() if name not in who}


NONE: Refused = {}
OTHERS_TENANT: Refused = {INTRUDER: OTHER_TENANT}
# A token that is sent must be valid, also where nobody needs one.
NO_TOKEN: Refused = {
    TOKEN_EXPIRED: (401, "TOKEN_EXPIRED"),
    TOKEN_REVOKED: (401, "INVALID_TOKEN"),
}
NO_DISPLAY: Refused = {DISPLAY_REVOKED: (401, "INVALID_TOKEN")}
NOT_ITS_ZONE: Refused = {TOKEN_OF_ZONE: OTHER_ZONE}
# The key of a device opens no protected route.
NOT_READERS: Refused = {
    **each(KEYS | {NOBODY}, NO_ID),
    **each(ENDED, NO_LONGER_VALID),
    **NO_TOKEN,
    **NO_DISPLAY,
    **OTHERS_TENANT,
}
NOT_OF_LAB: Refused = {**NOT_READERS, **NOT_ITS_ZONE}
# This key comes as a bearer token, as Prometheus sends its own.
NOT_PROMETHEUS: Refused = {**NOT_READERS, OTHER_KEY: (401, "INVALID_METRICS_TOKEN")}
NOT_OPERATORS: Refused = {
    **NOT_READERS,
    **each((READER, TOKEN_READER, DISPLAY), ROLE_TOO_LOW),
    **NOT_ITS_ZONE,
}
NOT_ADMINS: Refused = {**NOT_OPERATORS, **each(LIMITED | {OPERATOR}, ROLE_TOO_LOW)}
# A post without session and key is from the tenant `default`; one with a session that has ended is
# not, since that session may have been one of another tenant.
NOT_SENDERS: Refused = {
    **each(ENDED, NO_LONGER_VALID),
    **NO_TOKEN,
    **NO_DISPLAY,
    **each((READER, TOKEN_READER, DISPLAY), ROLE_TOO_LOW),
    **OTHERS_TENANT,
    **each(KEYS, WRONG_DEVICE),
}
# No session and no token replaces a device's key. (The stranger's post is for a device of the
# stranger's tenant that has the same name and no key.)
NOT_THE_DEVICE: Refused = {
    **without(NOT_SENDERS, OWN_KEY),
    **each((NOBODY, OPERATOR, ADMIN, TOKEN_OPERATOR, TOKEN_OF_ZONE), KEY_REQUIRED),
}
NO_KEY_SENT = frozenset(EVERYONE) - KEYS


class Row(NamedTuple):
    """One request, and the principals that are refused in each BAS_AUTH_MODE.

    `path` is the one of the URL map; `url` replaces it in the request if it has variables. `@` in
    `body` stands for a number from 100 to 399 that no other request has. Allowed requests succeed
    with 200, answers about the tenant `default` contain `shows`, and the requests of `changing`
    change the store. `in_shadow` and `disabled` are the refusals in these modes, by default none.
    """

    method: str
    path: str
    refused: Refused = NONE
    query: str = ""
    body: str = ""
    url: str = ""
    shows: str = ""
    changing: frozenset[str] = frozenset()
    in_shadow: Refused = NONE
    disabled: Refused = NONE

    def in_mode(self, mode: str) -> Refused:
        """The refusals in this mode."""
        return {"user_password": self.refused, "shadow": self.in_shadow}.get(mode, self.disabled)

    def __str__(self) -> str:
        return f"{self.method} {self.url or self.path} {self.body}".strip()


def in_rows(refused: Refused) -> Refused:
    """The refusals of a batch: its answer has those of devices in its rows, with status 200."""
    of_rows = (KEY_REQUIRED, WRONG_DEVICE)
    return {
        who: (200, refusal[1]) if refusal in of_rows else refusal
        for who, refusal in refused.items()
    }


READING = '{"device_id": "%s", "temp_tenths": @, "sensor_ok": true}'
# In shadow mode a role that is too low refuses nothing: such a post is one of the caller's tenant.
KEYED_IN_SHADOW: Refused = {
    **each((NOBODY, *OURS, *ENDED, *GONE, *LIMITED - {TOKEN_FOREIGN}), KEY_REQUIRED),
    **each((OTHER_KEY, FOREIGN_KEY), WRONG_DEVICE),
}
KEYED_IF_OFF: Refused = {
    **each(NO_KEY_SENT, KEY_REQUIRED),
    **each((OTHER_KEY, FOREIGN_KEY), WRONG_DEVICE),
}
KEYLESS_IN_SHADOW: Refused = each(KEYS, WRONG_DEVICE)
KEYLESS_IF_OFF: Refused = each(KEYS, WRONG_DEVICE)


def posts_of(device_id: str, refused: Refused, in_shadow: Refused, disabled: Refused) -> list[Row]:
    """The posts of a reading of this device, alone and in a batch."""
    one, many = "/api/sensor_data", "/api/sensor_data/batch"
    body, all_ = READING % device_id, frozenset(EVERYONE)
    whole = Row("POST", one, refused, body=body, changing=all_)
    rows = Row("POST", many, in_rows(refused), body=f"[{body}]", changing=all_)
    line = f"{device_id} temperature=21.@"
    return [
        whole._replace(in_shadow=in_shadow, disabled=disabled),
        whole._replace(path="/api/v2/write", body=line, in_shadow=in_shadow, disabled=disabled),
        rows._replace(in_shadow=in_rows(in_shadow), disabled=in_rows(disabled)),
    ]


def read(path: str, refused: Refused, shows: str, query: str = "") -> Row:
    """A GET that is open to everyone in shadow mode and if log-in is disabled."""
    return Row("GET", path, refused, query, shows=shows)


def post(path: str, refused: Refused, body: str) -> Row:
    """A POST that changes the store, open to everyone in shadow mode and if log-in is disabled."""
    return Row("POST", path, refused, body=body, changing=frozenset(EVERYONE))


LAB, LAB_ROW = "device_id=lab", '"device_id":"lab"'
ITS_SESSION: Refused = {
    **each(KEYS | {NOBODY}, (400, "NO_SESSION")),
    **each(ENDED, NO_LONGER_VALID),
    **NO_TOKEN,
    **NO_DISPLAY,
}
CREDENTIALS = f'{{"username": "{VISITOR}", "password": "{PASSWORD}"}}'
# A device of another tenant is like one that does not exist.
NOT_HERE: Refused = each((STRANGER, INTRUDER, TOKEN_FOREIGN), (404, "DEVICE_NOT_FOUND"))
NOT_ITS_TENANT: Refused = {**NOT_HERE, **OTHERS_TENANT, **NOT_ITS_ZONE, **NO_TOKEN}
# Accounts need a session of the role in every mode: what is made there stays.
AUTH_OFF: Refused = each(EVERYONE, (503, "AUTH_DISABLED"))
NOT_SIGNED_IN: Refused = {
    **each(KEYS | ENDED | GONE | {NOBODY}, NO_LONGER_VALID),
    **each(LIMITED, ROLE_TOO_LOW),
}
NOT_ADMINS_IN_SHADOW: Refused = {**NOT_SIGNED_IN, **each((READER, OPERATOR), ROLE_TOO_LOW)}
# An account of another tenant is like one that does not exist.
NO_USER = (404, "NO_SUCH_USER")
THE_LEAVER = f"/api/users/{LEAVER}"


def of_users(method: str, path: str, body: str = "", shows: str = "") -> Row:
    """A request about accounts of the caller's tenant."""
    changing = frozenset() if method == "GET" else frozenset({ADMIN, STRANGER, INTRUDER})
    row = Row(method, path, NOT_ADMINS, body=body, shows=shows, changing=changing)
    return row._replace(in_shadow=NOT_ADMINS_IN_SHADOW, disabled=AUTH_OFF)


def of_leaver(method: str, path: str = "", body: str = "", shows: str = "") -> Row:
    """A request about one account."""
    row = of_users(method, f"/api/users/<username>{path}", body, shows)
    return row._replace(
        url=THE_LEAVER + path,
        refused={**NOT_ADMINS, STRANGER: NO_USER},
        in_shadow={**NOT_ADMINS_IN_SHADOW, **each((STRANGER, INTRUDER), NO_USER)},
    )


def of_alarm(step: str, body: str, changing: frozenset[str] = frozenset(EVERYONE)) -> Row:
    """What an operator does with the alarm of the site."""
    row = post(f"/api/alarms/<alarm_id>/{step}", NOT_OPERATORS, body)
    unknown = each((STRANGER, INTRUDER, TOKEN_FOREIGN), (404, "NO_SUCH_ALARM"))
    return row._replace(
        url=f"/api/alarms/{ALARM_ID}/{step}",
        refused={**NOT_OPERATORS, **without(unknown, INTRUDER)},
        in_shadow=unknown,
        disabled=NONE,
        changing=changing,
    )


def of_attic(path: str) -> Row:
    """A change that ends the keys of device `attic`."""
    row = of_users("POST", path, '{"device_id": "attic"}')
    unknown = each((STRANGER, INTRUDER), (404, "DEVICE_NOT_FOUND"))
    return row._replace(
        refused={**NOT_ADMINS, STRANGER: unknown[STRANGER]},
        in_shadow={**NOT_ADMINS_IN_SHADOW, **unknown},
        changing=frozenset({ADMIN}),
    )


ZONE = "/api/zones/<device:device_id>"
ZONES_FILE = '{"csv": "device_id,location\\nlab,new-@"}'
NO_SUCH_LINE = (400, "IMPORT_REFUSED")
NEW_USER = f'{{"username": "new-@", "password": "{PASSWORD}", "role": "operator"}}'
# The stranger's new password ends the session of the intruder, who has the same account.
OWN_PASSWORD = Row(
    "POST",
    "/auth/password",
    {**NOT_READERS, **each(LIMITED, ROLE_TOO_LOW), INTRUDER: NO_LONGER_VALID},
    body=f'{{"old_password": "{PASSWORD}", "password": "another horse @"}}',
    changing=OURS | {STRANGER},
    in_shadow={**NOT_SIGNED_IN, INTRUDER: NO_LONGER_VALID},
    disabled=AUTH_OFF,
)
NO_SUCH_TOKEN = (404, "NO_SUCH_TOKEN")
REVOKING = of_users("DELETE", "/api/tokens/<name>")._replace(
    url=f"/api/tokens/{SPARE}",
    changing=frozenset({ADMIN}),
    refused={**NOT_ADMINS, STRANGER: NO_SUCH_TOKEN},
    in_shadow={**NOT_ADMINS_IN_SHADOW, **each((STRANGER, INTRUDER), NO_SUCH_TOKEN)},
)
NO_TARGET = (404, "NO_SUCH_NOTICE_TARGET")
TARGET = '"name": "on call", "kind": "webhook", "url": "https://192.168.1.@/hook"'


def of_target(method: str, path: str = "", body: str = "") -> Row:
    """A request about one notice target."""
    row = of_users(method, f"/api/notice-targets/<target_id>{path}", body)
    return row._replace(
        url=f"/api/notice-targets/{SPARE}{path}",
        changing=frozenset({ADMIN}),
        refused={**NOT_ADMINS, STRANGER: NO_TARGET},
        in_shadow={**NOT_ADMINS_IN_SHADOW, **each((STRANGER, INTRUDER), NO_TARGET)},
    )


# A page leads a browser without a session to the log-in page.
TO_LOG_IN_OR_REFUSED: Refused = {
    who: (302, "/auth/login") if refusal[0] == 401 else refusal
    for who, refusal in NOT_ADMINS.items()
}
NO_LINK: Refused = each(EVERYONE, (404, "LINK_UNKNOWN"))
OPENING = Row(
    "POST",
    "/auth/display",
    NO_LINK,
    body='{"secret": "bast_made-up-@"}',
    in_shadow=NO_LINK,
    disabled=AUTH_OFF,
)
# In this order; a log-out ends the session, and so may a log-in.
ROWS: tuple[Row, ...] = (
    read("/", NONE, "<!doctype html>"),
    read("/display", NONE, "<!doctype html>"),
    read("/zone", NONE, "<!doctype html>"),
    read("/alarms", NONE, "<!doctype html>"),
    read("/admin/<section>", TO_LOG_IN_OR_REFUSED, "<!doctype html>")._replace(url="/admin/users"),
    read("/auth/login", NONE, "<!doctype html>"),
    read("/auth/display", NONE, "<!doctype html>"),
    read("/static/<path:filename>", NONE, "export")._replace(url="/static/api.js"),
    read("/docs", NONE, "<!doctype html>"),
    read("/favicon.ico", NONE, "<svg"),
    read("/robots.txt", NONE, "Disallow: /"),
    read("/openapi.json", NONE, "/api/set_setpoint"),
    read("/api/health", NONE, "healthy"),
    read("/healthz", NONE, "alive"),
    read("/readyz", NONE, "ready"),
    read("/metrics", NONE, "bas_readings_stored"),
    read("/api/metrics/zones", NOT_PROMETHEUS, 'tenant="default",device="lab"'),
    read("/api/status", NOT_ITS_TENANT, LAB_ROW, LAB)._replace(in_shadow=NOT_HERE),
    read("/api/config", NOT_ITS_TENANT, '"setpoint_tenths":230', LAB)._replace(in_shadow=NOT_HERE),
    read("/api/zones", NOT_READERS, LAB_ROW),
    read(ZONE, {**NOT_OF_LAB, **NOT_HERE, **OTHERS_TENANT}, LAB_ROW)._replace(
        url="/api/zones/lab", in_shadow=NOT_HERE
    ),
    post(ZONE, {**NOT_OPERATORS, **NOT_HERE, **OTHERS_TENANT}, '{"name": "new-@"}')._replace(
        method="PATCH", url="/api/zones/lab", in_shadow=NOT_HERE
    ),
    read("/api/zones.csv", NOT_ADMINS, "lab,"),
    post("/api/zones.csv", {**NOT_ADMINS, STRANGER: NO_SUCH_LINE}, ZONES_FILE)._replace(
        in_shadow=each((STRANGER, INTRUDER, TOKEN_FOREIGN), NO_SUCH_LINE)
    ),
    read("/api/telemetry", NOT_READERS, LAB_ROW),
    read("/api/telemetry/window", NOT_READERS, LAB_ROW),
    read("/api/telemetry/paginated", NOT_READERS, LAB_ROW),
    read("/api/telemetry/statistics", NOT_OF_LAB, '"total_records":1,', LAB),
    read("/api/telemetry/series", NOT_OF_LAB, "321", LAB),
    read("/api/telemetry/setpoints", NOT_OF_LAB, '"setpoint_tenths":', LAB),
    read("/api/telemetry/export.csv", NOT_OF_LAB, ",lab,32.1,", LAB),
    read("/api/sse/telemetry", NOT_READERS, LAB_ROW),
    read("/api/devices", NOT_READERS, LAB_ROW),
    read("/api/alarms", NOT_READERS, ALARM_ID),
    of_alarm("acknowledge", "{}", changing=frozenset()),
    of_alarm("shelve", '{"seconds": @}'),
    of_alarm("comment", '{"text": "@"}'),
    read("/api/audit/recent", NOT_ADMINS, "DEVICE_KEY_ISSUED", "limit=1000"),
    read("/api/system", NOT_ADMINS, '"open_to_strangers":'),
    read("/api/audit", NOT_ADMINS, "DEVICE_KEY_ISSUED", "limit=1000"),
    *posts_of("lab", NOT_THE_DEVICE, KEYED_IN_SHADOW, KEYED_IF_OFF),
    *posts_of("shed", NOT_SENDERS, KEYLESS_IN_SHADOW, KEYLESS_IF_OFF),
    post("/api/devices/register", NOT_OPERATORS, '{"device_id": "new-@"}'),
    of_users("POST", "/api/devices/key", '{"device_id": "new-@", "overlap": false}'),
    post("/api/set_setpoint", NOT_OPERATORS, '{"setpoint_tenths": @}'),
    of_users("GET", "/api/tokens", shows=f'"{SPARE}"'),
    of_users("POST", "/api/tokens", '{"name": "new-@"}'),
    REVOKING,
    of_users("GET", "/api/notice-targets", shows=f'"{SPARE}"'),
    of_users("POST", "/api/notice-targets", f'{{"id": "new-@", {TARGET}}}'),
    of_target("PUT", body=f"{{{TARGET}}}"),
    # A test adds an entry to the audit log alone.
    of_target("POST", "/test")._replace(changing=frozenset()),
    of_target("DELETE"),
    OPENING,
    of_users("GET", "/api/users", shows=f'"{LEAVER}"'),
    of_users("POST", "/api/users", NEW_USER),
    of_leaver("GET", shows=f'"{LEAVER}"'),
    of_leaver("PATCH", body='{"role": "operator"}'),
    of_leaver("POST", "/password", '{"password": "another horse @"}'),
    # Nothing is locked and no session is open: these two add an entry to the audit log alone.
    of_leaver("POST", "/unlock")._replace(changing=frozenset()),
    of_leaver("DELETE", "/sessions")._replace(changing=frozenset()),
    of_leaver("DELETE"),
    read("/auth/status", ITS_SESSION, '"valid"')._replace(in_shadow=ITS_SESSION),
    # The stranger has a zone of this name by now.
    of_users("DELETE", ZONE)._replace(
        url="/api/zones/lab",
        query="history=true",
        in_shadow={**NOT_ADMINS_IN_SHADOW, INTRUDER: (404, "DEVICE_NOT_FOUND")},
        changing=frozenset({ADMIN, STRANGER}),
    ),
    of_attic("/api/devices/key/revoke"),
    of_attic("/api/devices/delete"),
    OWN_PASSWORD,
    post("/auth/logout", NONE, "")._replace(changing=SESSIONS - {INTRUDER} | {EXPIRED}),
    post("/auth/login", NONE, CREDENTIALS)._replace(
        disabled=each(EVERYONE, (503, "AUTH_DISABLED"))
    ),
)
