"""Routes of stored readings: /api/telemetry and its window, pages and statistics."""

from __future__ import annotations

import msgspec
from quart import Blueprint, Response
from quart_schema import document_response, validate_querystring, validate_response

from server.auth.guard import Guard
from server.auth.principal import Principal
from server.common.clock import Clock
from server.common.errors import InvalidField
from server.control.messages import TelemetryRow, telemetry_row
from server.control.rules.reading import LATEST_AHEAD_MS
from server.routes.reading_models import (
    PageQuery,
    SeriesQuery,
    SetpointHistory,
    SetpointsQuery,
    StatisticsQuery,
    TelemetryPage,
    TelemetryQuery,
    WindowQuery,
)
from server.routes.requests import checked_times, fails_with, several_devices
from server.services.firestore.telemetry_store import Chart, Statistics, TelemetryStore
from server.services.ports.readings import Span

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
# Devices of one answer with series.
SERIES_MAX = 20


def blueprint(telemetry: TelemetryStore, guard: Guard, clock: Clock) -> Blueprint:
    """All users with a session read their own tenant's readings, newest first."""
    bp = Blueprint("telemetry", __name__)

    @bp.get("/api/telemetry")
    @guard.require_auth("read-only")
    @validate_response(list[TelemetryRow])
    @fails_with(400, 401, 403, 503)
    @validate_querystring(TelemetryQuery)
    async def recent(query_args: TelemetryQuery, principal: Principal) -> list[TelemetryRow]:
        readings = await telemetry.query_recent(
            principal.tenant_id, principal.zone(query_args.device_id or None), query_args.limit
        )
        return [telemetry_row(reading) for reading in readings]

    @bp.get("/api/telemetry/window")
    @guard.require_auth("read-only")
    @validate_response(list[TelemetryRow])
    @fails_with(400, 401, 403, 503)
    @validate_querystring(WindowQuery)
    async def window(
        query_args: WindowQuery, principal: Principal
    ) -> tuple[list[TelemetryRow], int, dict[str, str]]:
        latest = clock.now_ms() + LATEST_AHEAD_MS  # a device's clock may be ahead by this
        end = latest if query_args.end is None else query_args.end
        checked_times(query_args.start, end)
        readings, cursor = await telemetry.query_recent_paginated(
            principal.tenant_id,
            principal.zone(query_args.device_id or None),
            query_args.limit,
            None,
            Span(query_args.start, end),
        )
        has_more = "false" if cursor is None else "true"
        return [telemetry_row(reading) for reading in readings], 200, {"X-Has-More": has_more}

    @bp.get("/api/telemetry/paginated")
    @guard.require_auth("read-only")
    @validate_response(TelemetryPage)
    @fails_with(400, 401, 403, 503)
    @validate_querystring(PageQuery)
    async def paginated(query_args: PageQuery, principal: Principal) -> TelemetryPage:
        checked_times(query_args.start, query_args.end)
        readings, cursor = await telemetry.query_recent_paginated(
            principal.tenant_id,
            principal.zone(query_args.device_id or None),
            query_args.limit,
            query_args.start_after or None,
            Span(query_args.start, query_args.end),
        )
        rows = [telemetry_row(reading) for reading in readings]
        return TelemetryPage(rows, last_doc_id=cursor, has_more=cursor is not None)

    @bp.get("/api/telemetry/statistics")
    @guard.require_auth("read-only")
    @validate_response(Statistics)
    @fails_with(400, 401, 403, 503)
    @validate_querystring(StatisticsQuery)
    async def statistics(query_args: StatisticsQuery, principal: Principal) -> Statistics:
        now = clock.now_ms()
        start, end = query_args.start, query_args.end
        if start is None:
            start = (now if end is None else end) - query_args.hours * HOUR_MS
        end = now + LATEST_AHEAD_MS if end is None else end
        checked_times(start, end)
        device_id = principal.zone(query_args.device_id or None)
        return await telemetry.get_device_statistics(
            principal.tenant_id, device_id, start, end, now
        )

    @bp.get("/api/telemetry/series")
    @guard.require_auth("read-only")
    @document_response(Chart | list[Chart])
    @fails_with(400, 401, 403, 503)
    @validate_querystring(SeriesQuery)
    async def series(query_args: SeriesQuery, principal: Principal) -> Response:
        """A chart; an array of them if `device_id` is repeated."""
        devices = several_devices(query_args.device_id, SERIES_MAX)
        for device_id in devices:
            principal.check_zone(device_id)
        end = clock.now_ms() if query_args.end is None else query_args.end
        start = max(0, end - DAY_MS) if query_args.start is None else query_args.start
        if start >= end:
            raise InvalidField("start", "must be before end")
        charts = [
            await telemetry.chart(principal.tenant_id, device_id, start, end, query_args.points)
            for device_id in devices
        ]
        body = msgspec.json.encode(charts[0] if len(charts) == 1 else charts)
        return Response(body, mimetype="application/json")

    _add_setpoints(bp, telemetry, guard, clock)
    return bp


def _add_setpoints(bp: Blueprint, telemetry: TelemetryStore, guard: Guard, clock: Clock) -> None:
    @bp.get("/api/telemetry/setpoints")
    @guard.require_auth("read-only")
    @validate_response(SetpointHistory)
    @fails_with(400, 401, 403, 503)
    @validate_querystring(SetpointsQuery)
    async def setpoints(query_args: SetpointsQuery, principal: Principal) -> SetpointHistory:
        if not query_args.device_id:
            raise InvalidField("device_id", "is required")
        principal.check_zone(query_args.device_id)
        end = clock.now_ms() if query_args.end is None else query_args.end
        start = max(0, end - DAY_MS) if query_args.start is None else query_args.start
        checked_times(start, end)
        changes = await telemetry.setpoints(principal.tenant_id, query_args.device_id, start, end)
        return SetpointHistory(query_args.device_id, changes)
