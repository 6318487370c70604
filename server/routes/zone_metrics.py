"""Route of the zones' figures for Prometheus: /api/metrics/zones."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import NamedTuple

from quart import Blueprint, Response, request

from server.auth.guard import Guard, never_stored
from server.auth.principal import Principal
from server.common.bearer import bearer, is_api_token
from server.common.errors import Unauthenticated, Unavailable
from server.control.messages import ZoneStatus
from server.control.zone_service import ZoneService
from server.routes.requests import fails_with

# https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Answers that are made at the same time, of some MB each for 10,000 zones.
ANSWERS_MAX = 2
# Lines that are written in one go, about half a millisecond.
LINES_AT_ONCE = 1000
# A zone without a current, real measurement has no temperature: a graph shows a gap, not the last
# value as a straight line, nor the 0 that a broken sensor sends.
MEASURED = frozenset(("ok", "suspect", "stuck"))


class _Zone(NamedTuple):
    """A zone, and its labels as they stand in each of its lines."""

    labels: str
    status: ZoneStatus


class _Family(NamedTuple):
    """One metric: its name, what it says, and a zone's value (None: no line) or several lines."""

    name: str
    text: str
    lines: Callable[[_Zone], Sequence[tuple[str, float | int | None]]]


def blueprint(zones: ZoneService, guard: Guard, token: str) -> Blueprint:
    """Users with a session, and programs with an API token, read their tenant's zones.

    A caller with the `token` reads all tenants'; without it ("") nobody does.
    """
    bp = Blueprint("zone_metrics", __name__)
    answers = _Answers(zones)

    @guard.require_auth("read-only")
    async def of_session(principal: Principal) -> Response:
        return await answers.make(principal.tenant_id, principal.zones)

    @bp.get("/api/metrics/zones")
    @fails_with(401, 403, 503)
    async def zone_metrics() -> Response:
        sent = bearer(request.headers.get("Authorization", ""))
        if is_token(sent, token):
            return await never_stored(await answers.make(None))  # type: ignore[return-value]
        try:
            return await of_session()  # type: ignore[no-any-return]
        except Unauthenticated as refusal:
            if sent is None or is_api_token(sent):
                raise
            raise Unauthenticated(
                "Wrong token",
                "INVALID_METRICS_TOKEN",
                "send the server's BAS_METRICS_TOKEN, or log in"
                if token
                else "set BAS_METRICS_TOKEN on the server, or log in",
            ) from refusal

    return bp


def is_token(sent: str | None, token: str) -> bool:
    """Whether the bearer token that was sent is the one of the settings, and there is one."""
    return bool(token) and sent is not None and hmac.compare_digest(sent.encode(), token.encode())


class _Answers:
    """Makes answers metric by metric, as the format demands, as fast as the client takes them."""

    def __init__(self, zones: ZoneService) -> None:
        self._zones = zones
        self._running = 0

    async def make(self, tenant_id: str | None, only: frozenset[str] = frozenset()) -> Response:
        """The answer for one tenant, or with None for all. Raises Unavailable.

        If devices are named in `only`, it has these.
        """
        if self._running >= ANSWERS_MAX:
            raise Unavailable(
                "Too many answers are being made",
                "TOO_MANY_SCRAPES",
                f"this process makes {ANSWERS_MAX} at a time: ask less often",
            )
        self._running += 1
        try:
            found = await self._found(tenant_id, only)
        finally:
            self._running -= 1
        response = Response(self._pieces(found), content_type=CONTENT_TYPE)
        if request.method == "HEAD":
            response = Response(b"", content_type=CONTENT_TYPE)
        return response

    async def _found(self, tenant_id: str | None, only: frozenset[str]) -> list[_Zone]:
        if tenant_id is None:
            tenants: Mapping[str, Sequence[ZoneStatus]] = await self._zones.of_all_tenants()
        else:
            tenants = {tenant_id: await self._zones.snapshot(tenant_id)}
        return [
            _Zone(f'tenant="{escaped(name)}",device="{escaped(zone.device_id or "")}"', zone)
            for name, zones in tenants.items()
            for zone in zones
            if not only or zone.device_id in only
        ]

    async def _pieces(self, zones: Sequence[_Zone]) -> AsyncIterator[bytes]:
        self._running += 1
        try:
            for family in FAMILIES:
                lines = [f"# HELP {family.name} {family.text}\n# TYPE {family.name} gauge\n"]
                for zone in zones:
                    lines += (
                        f"{family.name}{{{zone.labels}{more}}} {value}\n"
                        for more, value in family.lines(zone)
                        if value is not None
                    )
                    if len(lines) >= LINES_AT_ONCE:
                        yield "".join(lines).encode()
                        lines = []
                        await asyncio.sleep(0)
                yield "".join(lines).encode()
        finally:
            self._running -= 1


def escaped(text: str) -> str:
    """A text as the value of a label: what devices and tenants are called is not our choice."""
    escaped = text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return escaped.encode("utf-8", "replace").decode()


def _one(
    value: Callable[[ZoneStatus], float | int | None],
) -> Callable[[_Zone], list[tuple[str, float | int | None]]]:
    return lambda zone: [("", value(zone.status))]


def _temperature(zone: ZoneStatus) -> float | None:
    if zone.temp_tenths is None or not zone.sensor_ok or zone.trust.state not in MEASURED:
        return None
    return zone.temp_tenths / 10


def _relays(zone: _Zone) -> list[tuple[str, float | int | None]]:
    if not zone.status.relays_known:
        return []
    cool, heat = int(zone.status.cool_active), int(zone.status.heat_active)
    return [(',relay="cool"', cool), (',relay="heat"', heat)]


FAMILIES = (
    _Family(
        "bas_zone_temperature_celsius",
        "The newest measurement; none while the zone is silent, refused or has a fault",
        _one(_temperature),
    ),
    _Family(
        "bas_zone_setpoint_celsius",
        "The setpoint in force",
        _one(lambda zone: zone.setpoint_tenths / 10),
    ),
    _Family(
        "bas_zone_deadband_celsius",
        "The deadband in force",
        _one(lambda zone: zone.deadband_tenths / 10),
    ),
    _Family(
        "bas_zone_relay",
        "1 for a relay that was commanded on; none while the state of the relays is unknown",
        _relays,
    ),
    _Family(
        "bas_zone_trust",
        "1 for the state of the zone's trust",
        lambda zone: [(f',state="{zone.status.trust.state}"', 1)],
    ),
    _Family(
        "bas_zone_last_reading_timestamp_seconds",
        "When the newest present reading came, in Unix time",
        _one(lambda zone: zone.received / 1000 if zone.received else None),
    ),
)
