"""Stored readings: /api/telemetry and its window, pages and statistics."""

from __future__ import annotations

from quart import Blueprint
from quart_schema import validate_querystring, validate_response

from server.auth.guard import Guard
from server.auth.principal import Principal
from server.clock import Clock
from server.control.reading import LATEST_AHEAD_MS
from server.control.views import TelemetryRow, telemetry_row
from server.errors import InvalidField
from server.routes.models import (
    PageQuery,
    StatisticsQuery,
    TelemetryPage,
    TelemetryQuery,
    WindowQuery,
)
from server.routes.requests import fails_with
from server.services.firestore.telemetry_store import Statistics, TelemetryStore

HOUR_MS = 3_600_000


def blueprint(telemetry: TelemetryStore, guard: Guard, clock: Clock) -> Blueprint:
    """For everyone who is logged in, of their own tenant, newest first."""
    bp = Blueprint("telemetry", __name__)

    @bp.get("/api/telemetry")
    @guard.require_auth("read-only")
    @validate_response(list[TelemetryRow])
    @fails_with(400, 401, 403, 503)
    @validate_querystring(TelemetryQuery)
    async def recent(query_args: TelemetryQuery, principal: Principal) -> list[TelemetryRow]:
        readings = await telemetry.query_recent(
            principal.tenant_id, query_args.device_id or None, query_args.limit
        )
        return [telemetry_row(reading) for reading in readings]

    @bp.get("/api/telemetry/window")
    @guard.require_auth("read-only")
    @validate_response(list[TelemetryRow])
    @fails_with(400, 401, 403, 503)
    @validate_querystring(WindowQuery)
    async def window(query_args: WindowQuery, principal: Principal) -> list[TelemetryRow]:
        latest = clock.now_ms() + LATEST_AHEAD_MS  # what a device's clock may be ahead
        end = latest if query_args.end is None else query_args.end
        if query_args.start > end:
            raise InvalidField("start", "must not be after end")
        readings = await telemetry.query_window(
            principal.tenant_id,
            query_args.device_id or None,
            query_args.start,
            end,
            query_args.limit,
        )
        return [telemetry_row(reading) for reading in readings]

    @bp.get("/api/telemetry/paginated")
    @guard.require_auth("read-only")
    @validate_response(TelemetryPage)
    @fails_with(400, 401, 403, 503)
    @validate_querystring(PageQuery)
    async def paginated(query_args: PageQuery, principal: Principal) -> TelemetryPage:
        readings, cursor = await telemetry.query_recent_paginated(
            principal.tenant_id,
            query_args.device_id or None,
            query_args.limit,
            query_args.start_after or None,
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
        return await telemetry.get_device_statistics(
            principal.tenant_id,
            query_args.device_id or None,
            now - query_args.hours * HOUR_MS,
            now + LATEST_AHEAD_MS,
        )

    return bp
