"""Route of stored readings as a file: /api/telemetry/export.csv."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from quart import Blueprint, Response, request
from quart_schema import validate_querystring

from server.auth.guard import Guard
from server.auth.principal import Principal
from server.common.errors import InvalidField, Unavailable
from server.routes.reading_models import ExportQuery
from server.routes.requests import checked_times, fails_with
from server.services.firestore.telemetry_store import TelemetryStore
from server.services.history.csv_lines import HEADER, CsvLines
from server.services.ports.documents import StoreUnavailable
from server.services.ports.readings import Exported, Span

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

log = logging.getLogger(__name__)

# More at a time would delay statistics, which the same thread makes.
EXPORTS_MAX = 4
# A client that takes nothing for this long is disconnected.
STALLED_S = 60.0
# A store that is away in the middle of a file may come back: the answer's status is sent already.
RETRIES, RETRY_S = 20, 1.0


def blueprint(telemetry: TelemetryStore, guard: Guard, timezone: str) -> Blueprint:
    """All users with a session export their own tenant's readings, oldest first."""
    bp = Blueprint("export", __name__)
    exports = _Exports(telemetry, _zone(timezone))

    @bp.get("/api/telemetry/export.csv")
    @guard.require_auth("read-only")
    @fails_with(400, 401, 403, 503)
    @validate_querystring(ExportQuery)
    async def export(query_args: ExportQuery, principal: Principal) -> Response:
        if not query_args.device_id:
            raise InvalidField("device_id", "is required")
        principal.check_zone(query_args.device_id)
        checked_times(query_args.start, query_args.end)
        headers = {
            "Content-Type": "text/csv; charset=utf-8",
            "Content-Disposition": f'attachment; filename="{_file_name(query_args.device_id)}"',
            "Cache-Control": "no-store",
        }
        if request.method == "HEAD":
            return Response(b"", headers=headers)
        span = Span(query_args.start, query_args.end)
        file = await exports.file(principal.tenant_id, query_args.device_id, span)
        response = Response(file, headers=headers)
        # A whole file may take longer than Quart lets an answer take.
        response.timeout = None
        return response

    return bp


class _Exports:
    """Makes files piece by piece, as fast as the clients take them."""

    def __init__(self, telemetry: TelemetryStore, zone: ZoneInfo | None) -> None:
        self._history = telemetry.history
        self._zone = zone
        self._running = 0

    async def file(self, tenant_id: str, device_id: str, span: Span) -> AsyncIterator[bytes]:
        """The pieces of a file. Raises Unavailable if it cannot begin."""
        if self._running >= EXPORTS_MAX:
            raise Unavailable(
                "Too many exports are running",
                "TOO_MANY_EXPORTS",
                f"this process makes {EXPORTS_MAX} files at a time: send the request again later",
            )
        lines = CsvLines(device_id, self._zone)

        async def piece(of: Span) -> Exported:
            return await self._history.export(tenant_id, device_id, of, lines)

        first = await piece(span)

        async def pieces() -> AsyncIterator[bytes]:
            self._running += 1
            try:
                found = first
                yield HEADER
                while True:
                    if found.body:
                        yield found.body
                    if found.next_ms is None:
                        return
                    rest = span._replace(start_ms=found.next_ms)
                    for retry in range(RETRIES + 1):
                        try:
                            found = await piece(rest)
                            break
                        except StoreUnavailable as error:
                            if retry == RETRIES:
                                log.warning("an export is cut off: %s", error)
                                raise
                            await asyncio.sleep(RETRY_S)
            finally:
                self._running -= 1

        return _cut_if_stalled(pieces())


async def _cut_if_stalled(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same pieces; the answer is cancelled when its client does not take one for too long."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    async for body in pieces:
        stalled = loop.call_later(STALLED_S, task.cancel)
        try:
            yield body
        finally:
            stalled.cancel()


def _file_name(device_id: str) -> str:
    """A name that every file system and header may have."""
    return f"readings-{re.sub(r'[^A-Za-z0-9._-]', '_', device_id)}.csv"


def _zone(timezone: str) -> ZoneInfo | None:
    """A time zone by its name; None for that of the system."""
    if not timezone:
        return None
    # Imported here, since it takes a megabyte.
    from server.common.time_zones import time_zone

    return time_zone(timezone)
