"""What schemathesis must know of this server beyond /openapi.json.

`BAS_URL` is the server's address and `BAS_PASSWORD` the password of its accounts below, all admins.
The session of `keeper` is used by all operations but those that end sessions or change the
caller's password.
"""

from __future__ import annotations

import itertools
import os
from typing import Any

import requests
import schemathesis

# schemathesis takes names from answers. A request that took the role, the sessions or the password
# of one of these would leave 401 as the only answer to all that follow.
KEPT = {"keeper", "changer", "leaver"}
LOGIN_S = 60
LONG_AGO_MS = 1_500_000_000_000
# A log-in takes longer than fifty other requests.
CASES_FOR_EACH_LOGIN = 10
# Passwords that the rules take: the document cannot say which are too common, or were there before.
_numbers = itertools.count(1000)


def new_password() -> str:
    """A password that no account had before."""
    return f"{next(_numbers)} lamps in the old harbour"


class Account:
    """An account with a session, which a log-in replaces once it has ended."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.password = os.environ["BAS_PASSWORD"]
        self.session = ""
        self._cases_left = 0

    def use(self) -> str:
        """The secret id of the session, for one more case; an old one may have ended."""
        self._cases_left -= 1
        if not self.session and self._cases_left < 0:
            body = {"username": self.name, "password": self.password}
            answer = requests.post(
                f"{os.environ['BAS_URL']}/auth/login", json=body, timeout=LOGIN_S
            )
            if answer.status_code != 429:  # after wrong passwords it is slow, as it should be
                assert answer.status_code == 200, answer.text
                self.session = answer.cookies["bas_session_id"]
            self._cases_left = CASES_FOR_EACH_LOGIN
        return self.session or "a session that has ended"


keeper, changer, leaver = Account("keeper"), Account("changer"), Account("leaver")
CALLERS = {"log_out": leaver, "change_own_password": changer}


@schemathesis.auth(refresh_interval=None)
class Session:
    """Sends a session as a program does."""

    def get(self, case: schemathesis.Case, context: schemathesis.AuthContext) -> str:
        return CALLERS.get(_name(case.operation), keeper).use()

    def set(self, case: schemathesis.Case, data: str, context: schemathesis.AuthContext) -> None:
        case.headers = dict(case.headers or {}) | {"X-Session-ID": data}


@schemathesis.hook
def before_call(context: Any, case: schemathesis.Case, kwargs: Any) -> None:
    """Leave the kept accounts alone, and keep what a schema cannot express."""
    for names in (case.path_parameters, case.body):
        if isinstance(names, dict) and str(names.get("username")) in KEPT:
            names["username"] = "admin"
    text = case.body.get("password") if isinstance(case.body, dict) else None
    if isinstance(text, str) and not 12 <= len(text) <= 128:
        # The rules count the characters of the NFKC form, of which there may be more or fewer.
        case.body["password"] = text.encode("ascii", "replace").decode()
    if case.meta is None or case.meta.generation.mode.is_positive:
        _mend_query(case.query or {})
        if isinstance(case.body, dict):
            case.body = _whole(case.body)
            MENDED.get(_name(case.operation), _leave)(case.body)


@schemathesis.hook
def after_call(context: Any, case: schemathesis.Case, response: Any) -> None:
    """Note what has ended or changed."""
    caller = CALLERS.get(_name(case.operation)) if case.method.upper() == "POST" else None
    session = (case.headers or {}).get("X-Session-ID")
    if caller is None or response.status_code != 200 or session != caller.session:
        return
    if caller is leaver:
        leaver.session = ""
    else:
        changer.password = case.body["password"]


def _whole(value: Any) -> Any:
    """The value with 5 for 5.0: JSON Schema takes that for an integer, this server does not."""
    if isinstance(value, dict):
        return {name: _whole(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _mend_query(query: dict[str, Any]) -> None:
    """No invented cursor, and times in their order."""
    query.pop("start_after", None)
    if str(query.get("end")) == "0":
        query["end"] = 1
    if {"start", "end"} <= query.keys():
        start, end = sorted((int(query["start"]), int(query["end"])))
        query["start"], query["end"] = start, end + (start == end)
    elif "start" in query:
        # Without an end it is now, and no schema says when that is.
        query["start"] = min(int(query["start"]), LONG_AGO_MS)


def _mend_password(body: dict[str, Any]) -> None:
    """None that is too common, or was there before; the right old one; a name that is new."""
    if "password" in body:
        body["password"] = new_password()
    if "old_password" in body:
        body["old_password"] = changer.password
    if "username" in body:
        body["username"] = f"user.{next(_numbers)}"


def _mend_token(body: dict[str, Any]) -> None:
    """A display may only read, and the names of zones are printable."""
    if body.get("display"):
        body.pop("role", None)
    if "zones" in body:
        body["zones"] = [name for name in body["zones"] if name.isprintable()]


def _mend_target(body: dict[str, Any]) -> None:
    """What its kind needs, and nothing that is another kind's."""
    name = str(body.get("name"))
    if not (name.strip() and name.isprintable()):
        body["name"] = "on call"
    for name in OF_KINDS:
        body.pop(name, None)
    if body.get("kind") == "email":
        body |= {"host": "192.0.2.1", "port": 25, "sender": "a@b.cd", "recipients": ["e@f.gh"]}
    else:
        body["url"] = "https://192.0.2.1/topic"


def _mend_zone(body: dict[str, Any]) -> None:
    """Thresholds of which the low one is less than the high one, there before or given now."""
    limits = [body.get(name) for name in THRESHOLDS]
    given = sorted(limit for limit in limits if isinstance(limit, int))
    if given:
        high, low = given[-1], given[0] if len(given) > 1 else None
        body |= dict(zip(THRESHOLDS, (high, None if low == high else low), strict=True))


def _leave(body: dict[str, Any]) -> None:
    """The schema says all."""


THRESHOLDS = ("high_tenths", "low_tenths")
OF_KINDS = {"url", "host", "port", "username", "sender", "recipients", "secret"}
MENDED = {
    "create_user": _mend_password,
    "set_user_password": _mend_password,
    "change_own_password": _mend_password,
    "create_token": _mend_token,
    "change_zone": _mend_zone,
    "create_notice_target": _mend_target,
    "replace_notice_target": _mend_target,
}


def _name(operation: Any) -> str:
    return str(operation.definition.raw.get("operationId", ""))
