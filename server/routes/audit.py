"""Routes of the audit log: /api/audit and /api/audit/recent."""

from __future__ import annotations

from quart import Blueprint
from quart_schema import validate_querystring, validate_response

from server.auth.guard import Guard
from server.auth.principal import Principal
from server.routes.models import AuditPage, AuditPageQuery, AuditQuery, AuditView
from server.routes.requests import checked_times, fails_with
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.models import AuditEntry


def blueprint(audit: AuditStore, guard: Guard) -> Blueprint:
    """Admins read their own tenant's entries, newest first."""
    bp = Blueprint("audit", __name__)

    @bp.get("/api/audit/recent")
    @guard.require_auth("admin")
    @validate_response(list[AuditView])
    @fails_with(400, 401, 403, 503)
    @validate_querystring(AuditQuery)
    async def recent(query_args: AuditQuery, principal: Principal) -> list[AuditView]:
        entries = await audit.query_recent(principal.tenant_id, query_args.limit)
        return [_view(entry) for entry in entries]

    @bp.get("/api/audit")
    @guard.require_auth("admin")
    @validate_response(AuditPage)
    @fails_with(400, 401, 403, 503)
    @validate_querystring(AuditPageQuery)
    async def page(query_args: AuditPageQuery, principal: Principal) -> AuditPage:
        checked_times(query_args.start, query_args.end)
        entries, cursor = await audit.query_page(
            principal.tenant_id,
            query_args.limit,
            username=query_args.user or None,
            action=query_args.action or None,
            start_ms=query_args.start,
            end_ms=query_args.end,
            cursor=query_args.start_after or None,
        )
        views = [_view(entry) for entry in entries]
        return AuditPage(views, last_doc_id=cursor, has_more=cursor is not None)

    return bp


def _view(entry: AuditEntry) -> AuditView:
    return AuditView(
        timestamp=entry.timestamp_ms,
        action=entry.action,
        username=entry.username or "",
        address=entry.address or "",
        success=entry.success,
        details=entry.details,
        timestamp_ms=entry.timestamp_ms,
        event_type=entry.action,
        user_id=entry.username or "",
        ip_address=entry.address or "",
    )
