"""Route of the live stream: /api/sse/telemetry."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import msgspec
from quart import Blueprint, Response, request
from quart_schema import validate_querystring

from server.alarms.alarm_actions import AlarmActions
from server.alarms.alarm_view import alarm_view
from server.auth.guard import Guard, address
from server.auth.principal import Principal
from server.common.addresses import address_group
from server.common.asgi import Scope
from server.common.errors import InvalidField
from server.control.zone_service import ZoneService
from server.routes.models import StreamQuery
from server.routes.requests import fails_with
from server.routes.stream_writer import STREAM_KEY
from server.services.sse_service.service import SSEService
from server.services.sse_service.stream_request import StreamRequest
from server.services.sse_service.subscription import Subscription

DEVICES_MAX = 1000
HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}


def blueprint(
    sse: SSEService,
    zones: ZoneService,
    alarms: AlarmActions,
    guard: Guard,
    is_shared: Callable[[str], bool],
) -> Blueprint:
    """All users with a session get the events of their own tenant.

    `is_shared` says whether many people may connect from an address.
    """
    bp = Blueprint("stream", __name__)

    @bp.get("/api/sse/telemetry")
    # A stream that reconnects by itself shows nobody at the page.
    @guard.require_auth("read-only", is_use=False)
    @fails_with(400, 401, 403, 429, 503)
    @validate_querystring(StreamQuery)
    async def telemetry_stream(query_args: StreamQuery, principal: Principal) -> Response:
        if request.method == "HEAD":
            return Response(b"", headers=HEADERS)
        wanted = _several(query_args.device_id)
        if len(wanted) > DEVICES_MAX:
            raise InvalidField("device_id", f"at most {DEVICES_MAX} devices")
        devices = frozenset(wanted)
        for device_id in devices:
            principal.check_zone(device_id)
        devices = devices or principal.zones
        tenant_id = principal.tenant_id

        async def snapshot() -> dict[str, object]:
            known = await zones.snapshot(tenant_id)
            found, count = await alarms.open_alarms(tenant_id)
            return {
                "zones": [zone for zone in known if not devices or zone.device_id in devices],
                "alarms": [
                    alarm_view(alarm)
                    for alarm in found
                    if not devices or not alarm.device_id or alarm.device_id in devices
                ],
                "alarm_count": count,
            }

        # Some clients write `lastEventId`, as the event of a browser calls it.
        ids_in_query = _several(query_args.last_event_id) or _several(query_args.lastEventId)
        last_event_id = request.headers.get("Last-Event-ID") or "".join(ids_in_query[-1:])
        state: dict[str, Any] = dict(request.scope.get("state") or {})
        transport = state.get("transport")
        http1 = request.http_version.startswith("1.")
        abort = transport.abort if transport is not None and http1 else None
        stream_request = StreamRequest(
            tenant_id,
            last_event_id=last_event_id,
            devices=devices,
            names=query_args.names,
            owner=principal.owner,
            account=principal.username if principal.owner else "",
            address="" if is_shared(address()) else address_group(address()),
            end=principal.end,
            # HTTP/1.1 has chunks; in HTTP/1.0 an answer ends with its connection.
            wire=transport if request.http_version == "1.1" else None,
            snapshot=snapshot if query_args.snapshot else None,
        )

        sse.check_room(stream_request)

        async def subscribe(kill: Callable[[], None]) -> Subscription:
            return await sse.subscribe(msgspec.structs.replace(stream_request, kill=abort or kill))

        cast(Scope, request.scope)[STREAM_KEY] = subscribe
        return Response(_no_body(), headers=HEADERS)

    return bp


async def _no_body() -> AsyncIterator[bytes]:
    return
    yield b""


def _several(value: list[str] | str) -> list[str]:
    return [text for text in ([value] if isinstance(value, str) else value) if text]
