"""The principals that may send a request, and the headers by which each of them does."""

from __future__ import annotations

import secrets
from typing import Any

from bas_server import Container
from server.alarms.alarms_store import AlarmSlot, begin_writes
from server.alarms.rules import AlarmMoment, Sign
from server.alarms.steps import acknowledged, begun, slot_id
from server.auth.tokens import NewToken
from server.commands.admin import console
from tests.conftest import PASSWORD
from tests.support.clock import ManualClock
from tests.support.http import AGENT, Caller, logged_in, reading
from tests.support.notices import webhook
from tests.support.stream import eventually

# The tenant `default` is the one under attack. Its device `lab` has a key, its device `shed` none.
NOBODY = "no session"
READER = "read-only"
OPERATOR = "operator"
ADMIN = "admin"
TOKEN_READER = "read-only token"
TOKEN_OPERATOR = "operator token"
TOKEN_OF_ZONE = "operator token of one zone"
TOKEN_FOREIGN = "operator token of another tenant"
TOKEN_EXPIRED = "expired operator token"
TOKEN_REVOKED = "revoked operator token"
DISPLAY = "display"
DISPLAY_REVOKED = "revoked display"
STRANGER = "admin of another tenant"
INTRUDER = "admin of another tenant who names this one"
EXPIRED = "expired session of an admin"
REVOKED = "revoked session of an admin"
FORGED = "forged session"
OTHER_KEY = "key of another device"
FOREIGN_KEY = "device key of another tenant"
OWN_KEY = "own key of the device"

OURS = frozenset({READER, OPERATOR, ADMIN})
SESSIONS = OURS | {STRANGER, INTRUDER}
ENDED = frozenset({EXPIRED, REVOKED, FORGED})
LIMITED = frozenset({TOKEN_READER, TOKEN_OPERATOR, TOKEN_OF_ZONE, TOKEN_FOREIGN, DISPLAY})
GONE = frozenset({TOKEN_EXPIRED, TOKEN_REVOKED, DISPLAY_REVOKED})
KEYS = frozenset({OTHER_KEY, FOREIGN_KEY, OWN_KEY})
EVERYONE = (
    NOBODY,
    READER,
    OPERATOR,
    ADMIN,
    STRANGER,
    INTRUDER,
    EXPIRED,
    REVOKED,
    FORGED,
    OTHER_KEY,
    FOREIGN_KEY,
    OWN_KEY,
    *sorted(LIMITED | GONE),
)
# An account that logs in while the others have their sessions.
VISITOR = "visitor"
# An account of this tenant that admins may change and delete.
LEAVER = "leaver"
# A token of this tenant that admins may revoke.
SPARE = "spare"
# Seconds until the expired token expired.
SHORT_S = 60

ACCOUNTS = {READER: "reader", OPERATOR: "operator", ADMIN: "admin", STRANGER: "stranger"}
# An alarm that nothing in a test ends.
ALARM_KEY = ("default", "", "notice_failed")
ALARM_ID = f"{slot_id(*ALARM_KEY)}-1"
Headers = dict[str, str]


async def all_principals(container: Container, clock: ManualClock) -> dict[str, Headers]:
    """The headers of each principal; the devices are registered, and `lab` has one reading."""
    for name in (VISITOR, LEAVER):
        await container.base.admin.create_user(name, PASSWORD, "read-only", "default")
    await container.alarms.notices.targets.create(
        "admin", "", webhook("https://192.168.1.1", target_id=SPARE, name=SPARE)
    )
    found = {NOBODY: {}} | await _with_keys(container)
    found |= await _with_tokens(container, clock)
    if container.base.config.auth_on:
        found |= await _with_sessions(container, clock)
    found |= {who: _session(secrets.token_urlsafe(32)) for who in (SESSIONS | ENDED) - found.keys()}
    found[INTRUDER] |= {container.base.config.tenant_id_header: "default"}
    post = await Caller(container.app).post(
        "/api/sensor_data", reading(321, device_id="lab"), headers=found[OWN_KEY]
    )
    assert post.status == 200, post.body
    await with_alarm(container)
    await _used(container, found)
    clock.advance(1)  # a chart ends before the present
    return {who: found[who] | {"User-Agent": AGENT} for who in EVERYONE}


async def with_alarm(container: Container) -> None:
    """The site of tenant `default` has an alarm that an operator has seen."""
    alarm = begun(ALARM_KEY, 1, Sign(on=True, off=False), AlarmMoment(1, 1, 1, "", 1))
    seen = acknowledged(alarm, "operator", AlarmMoment(2, 1, 1, "", 1))
    await container.base.client.write(begin_writes(seen, AlarmSlot()))


async def _with_sessions(container: Container, clock: ManualClock) -> dict[str, Headers]:
    ended = {EXPIRED: (await logged_in(container, "admin")).session}
    clock.advance(container.base.config.session_timeout + 1)
    revoked = await logged_in(container, "admin")
    assert (await revoked.post("/auth/logout")).status == 200
    ended[REVOKED] = revoked.session
    alive = {who: (await logged_in(container, name)).session for who, name in ACCOUNTS.items()}
    alive[INTRUDER] = (await logged_in(container, ACCOUNTS[STRANGER])).session
    return {who: _session(secret) for who, secret in (ended | alive).items()}


async def _with_tokens(container: Container, clock: ManualClock) -> dict[str, Headers]:
    tokens = container.base.auth.tokens

    async def made(tenant_id: str, *about: Any) -> str:
        return (await tokens.create(console(), tenant_id, NewToken(*about)))[1]

    async def display(name: str) -> Headers:
        link = await made("default", name, "read-only", (), None, True)
        return {"Cookie": f"bas_display_80={(await tokens.open_link(link, ''))[1]}"}

    found = {
        TOKEN_READER: await made("default", "reading"),
        TOKEN_OPERATOR: await made("default", "operating", "operator"),
        TOKEN_OF_ZONE: await made("default", "shed", "operator", ("shed",)),
        TOKEN_FOREIGN: await made("elsewhere", "operating", "operator"),
        TOKEN_EXPIRED: await made("default", "expired", "operator", (), SHORT_S),
        TOKEN_REVOKED: await made("default", "revoked", "operator"),
    }
    displays = {DISPLAY: await display("lobby"), DISPLAY_REVOKED: await display("cellar")}
    await made("default", SPARE)
    for name in ("revoked", "cellar"):
        await tokens.revoke(console(), "default", name)
    clock.advance(SHORT_S + 1)
    return {who: {"Authorization": f"Bearer {sent}"} for who, sent in found.items()} | displays


async def _used(container: Container, found: dict[str, Headers]) -> None:
    """Use each token once: the time of its last use, which is stored then, stays."""
    tokens = container.base.auth.tokens
    for who in LIMITED:
        ((_, text),) = found[who].items()
        secret = text.rpartition("=")[2].rpartition(" ")[2]
        await tokens.principal(secret, "display" if who == DISPLAY else "api")
    await eventually(lambda: not tokens._noting, "the last uses of tokens")


async def _with_keys(container: Container) -> dict[str, Headers]:
    register = container.base.admin.register_device
    return {
        OWN_KEY: {"X-Device-Key": await register("default", "lab")},
        OTHER_KEY: {"Authorization": f"Bearer {await register('default', 'attic')}"},
        FOREIGN_KEY: {"X-Device-Key": await register("elsewhere", "theirs")},
    }


def _session(secret: str) -> Headers:
    """The session as a browser sends it."""
    return {"Cookie": f"bas_session_id={secret}"}
