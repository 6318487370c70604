"""The live stream: /api/sse/telemetry."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from quart import Blueprint, Response, request
from quart_schema import validate_querystring

from server.auth.guard import Guard
from server.auth.principal import Principal
from server.control.views import ZoneStatus
from server.control.zone_service import ZoneService
from server.errors import InvalidField
from server.routes.handed_streams import HANDED
from server.routes.models import StreamQuery
from server.routes.requests import fails_with
from server.services.sse_service.service import SSEService
from server.services.sse_service.subscription import Subscription

DEVICES_MAX = 1000
HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}


def blueprint(sse: SSEService, zones: ZoneService, guard: Guard) -> Blueprint:
    """For everyone who is logged in: the events of their own tenant."""
    bp = Blueprint("stream", __name__)

    @bp.get("/api/sse/telemetry")
    @guard.require_auth("read-only")
    @fails_with(400, 401, 403, 503)
    @validate_querystring(StreamQuery)
    async def telemetry_stream(query_args: StreamQuery, principal: Principal) -> Response:
        if request.method == "HEAD":
            return Response(b"", headers=HEADERS)
        devices = _several(query_args.device_id)
        if len(devices) > DEVICES_MAX:
            raise InvalidField("device_id", f"at most {DEVICES_MAX} devices")
        sse.check_room()
        tenant_id = principal.tenant_id

        async def snapshot() -> list[ZoneStatus]:
            known = await zones.snapshot(tenant_id)
            return [zone for zone in known if not devices or zone.device_id in devices]

        asked_in_query = _several(query_args.last_event_id)
        last_event_id = request.headers.get("Last-Event-ID") or "".join(asked_in_query[-1:])
        state: dict[str, Any] = dict(request.scope.get("state") or {})
        transport = state.get("transport")
        http1 = request.http_version.startswith("1.")
        # HTTP/1.1 knows chunks; before it, an answer ends with its connection.
        wire = transport if request.http_version == "1.1" else None
        owner, expire_at = principal.owner, principal.expire_at or None
        names = query_args.names

        async def subscribe(kill: Callable[[], None]) -> Subscription:
            return await sse.subscribe(
                tenant_id,
                last_event_id=last_event_id,
                devices=devices,
                names=names,
                owner=owner,
                expire_at=expire_at,
                kill=transport.abort if transport is not None and http1 else kill,
                wire=wire,
                snapshot=snapshot if query_args.snapshot else None,
            )

        scope: dict[str, Any] = request.scope  # type: ignore[assignment]
        scope[HANDED] = subscribe
        return Response(_head_alone(), headers=HEADERS)

    return bp


async def _head_alone() -> AsyncIterator[bytes]:
    return
    yield b""


def _several(value: list[str] | str) -> list[str]:
    return [text for text in ([value] if isinstance(value, str) else value) if text]
