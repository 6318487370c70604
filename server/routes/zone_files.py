"""Routes of zones in and out as CSV: /api/zones.csv."""

from __future__ import annotations

import msgspec
from quart import Blueprint, Response
from quart_schema import validate_querystring, validate_response

from server.auth.guard import Guard, address
from server.auth.principal import Principal
from server.control.zones.import_service import ImportResult, ZoneImport
from server.routes.requests import fails_with, json_body
from server.routes.zone_models import ImportQuery, ZonesFile, ZoneText


def blueprint(zones: ZoneImport, guard: Guard) -> Blueprint:
    """Admins write all zones of their tenant into a file, and change them by one."""
    bp = Blueprint("zone_files", __name__)

    @bp.get("/api/zones.csv")
    @guard.require_auth("admin")
    @fails_with(401, 403, 503)
    async def export(principal: Principal) -> Response:
        headers = {
            "Content-Type": "text/csv; charset=utf-8",
            "Content-Disposition": 'attachment; filename="zones.csv"',
            "Cache-Control": "no-store",
        }
        return Response(await zones.export(principal.tenant_id), headers=headers)

    @bp.post("/api/zones.csv")
    @guard.require_auth("admin")
    @validate_response(ImportResult)
    @fails_with(400, 401, 403, 413, 415, 503)
    @validate_querystring(ImportQuery)
    @json_body(ZonesFile)
    async def change(
        data: ZonesFile, query_args: ImportQuery, principal: Principal
    ) -> ImportResult:
        return await zones.run(
            principal.tenant_id,
            data.csv,
            principal.username,
            address(),
            wrong_text,
            dry_run=query_args.dry_run,
        )

    return bp


def wrong_text(text: str) -> str | None:
    """Why a text may not be a zone's name or location; None if it may."""
    try:
        msgspec.convert(text, ZoneText)
    except msgspec.ValidationError:
        return "up to 80 printable characters"
    return None
