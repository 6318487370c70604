"""Routes of alarms: /api/alarms, and what users do with one."""

from __future__ import annotations

from quart import Blueprint
from quart_schema import validate_querystring, validate_response

from server.alarms.alarm_actions import AlarmActions, AlarmUser
from server.alarms.alarm_view import AlarmView, alarm_view
from server.auth.guard import Guard, address
from server.auth.principal import Principal
from server.common.errors import InvalidField
from server.routes.alarm_models import (
    AcknowledgeBody,
    AlarmsPage,
    AlarmsQuery,
    CommentBody,
    ShelveBody,
)
from server.routes.requests import fails_with, json_body


def blueprint(alarms: AlarmActions, guard: Guard) -> Blueprint:
    """All users see the alarms of their tenant; operators and admins act on them."""
    bp = Blueprint("alarms", __name__)

    @bp.get("/api/alarms")
    @guard.require_auth("read-only")
    @validate_response(AlarmsPage)
    @fails_with(400, 401, 403, 503)
    @validate_querystring(AlarmsQuery)
    async def list_alarms(query_args: AlarmsQuery, principal: Principal) -> AlarmsPage:
        found, cursor = await alarms.page(
            principal.tenant_id,
            query_args.limit,
            state=query_args.state or None,
            device_id=principal.zone(query_args.zone or None),
            since_ms=query_args.since,
            cursor=query_args.start_after or None,
        )
        views = [alarm_view(alarm) for alarm in found]
        return AlarmsPage(views, last_doc_id=cursor, has_more=cursor is not None)

    @bp.post("/api/alarms/<alarm_id>/acknowledge")
    @guard.require_auth("operator")
    @validate_response(AlarmView)
    @fails_with(400, 401, 403, 404, 409, 413, 415, 503)
    @json_body(AcknowledgeBody)
    async def acknowledge(alarm_id: str, data: AcknowledgeBody, principal: Principal) -> AlarmView:
        return alarm_view(await alarms.acknowledge(_user(principal), alarm_id))

    @bp.post("/api/alarms/<alarm_id>/shelve")
    @guard.require_auth("operator")
    @validate_response(AlarmView)
    @fails_with(400, 401, 403, 404, 409, 413, 415, 503)
    @json_body(ShelveBody)
    async def shelve(alarm_id: str, data: ShelveBody, principal: Principal) -> AlarmView:
        return alarm_view(await alarms.shelve(_user(principal), alarm_id, data.seconds * 1000))

    @bp.post("/api/alarms/<alarm_id>/comment")
    @guard.require_auth("operator")
    @validate_response(AlarmView)
    @fails_with(400, 401, 403, 404, 409, 413, 415, 503)
    @json_body(CommentBody)
    async def comment(alarm_id: str, data: CommentBody, principal: Principal) -> AlarmView:
        text = data.text.strip()
        if not text or any(one < " " and one not in "\n\t" for one in text):
            raise InvalidField("text", "must have letters, and no control characters")
        return alarm_view(await alarms.comment(_user(principal), alarm_id, text))

    return bp


def _user(principal: Principal) -> AlarmUser:
    return AlarmUser(principal.tenant_id, principal.username, address(), principal.check_zone)
