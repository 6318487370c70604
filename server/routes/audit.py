"""The audit log: /api/audit/recent."""

from __future__ import annotations

from quart import Blueprint
from quart_schema import validate_querystring, validate_response

from server.auth.guard import Guard
from server.auth.principal import Principal
from server.routes.models import AuditQuery, AuditView
from server.routes.requests import fails_with
from server.services.firestore.audit_store import AuditStore


def blueprint(audit: AuditStore, guard: Guard) -> Blueprint:
    """For admins, of their own tenant, newest first."""
    bp = Blueprint("audit", __name__)

    @bp.get("/api/audit/recent")
    @guard.require_auth("admin")
    @validate_response(list[AuditView])
    @fails_with(400, 401, 403, 503)
    @validate_querystring(AuditQuery)
    async def recent(query_args: AuditQuery, principal: Principal) -> list[AuditView]:
        entries = await audit.query_recent(principal.tenant_id, query_args.limit)
        return [
            AuditView(
                timestamp=entry.timestamp_ms,
                action=entry.action,
                username=entry.username or "",
                address=entry.address or "",
                success=entry.success,
                details=entry.details,
            )
            for entry in entries
        ]

    return bp
