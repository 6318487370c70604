"""Routes of notice targets: /api/notice-targets, for admins with a session."""

from __future__ import annotations

from quart import Blueprint
from quart_schema import validate_response

from server.alarms.notice_models import NoticeTarget
from server.alarms.target_service import TargetService
from server.auth.guard import Guard
from server.auth.principal import Principal
from server.config.config import ServerConfig
from server.routes.admitted import admitted
from server.routes.notice_target_models import (
    NewNoticeTarget,
    NoticeTargetChanged,
    NoticeTargetDeleted,
    NoticeTargetFields,
    NoticeTargetsList,
    NoticeTargetTested,
    NoticeTargetView,
)
from server.routes.requests import fails_with, json_body

PATH = "/api/notice-targets"


def blueprint(config: ServerConfig, targets: TargetService, guard: Guard) -> Blueprint:
    """Admins see, change and test the targets of their own tenant."""
    bp = Blueprint("notice_targets", __name__)

    @bp.get(PATH)
    @guard.require_auth("admin")
    @validate_response(NoticeTargetsList)
    @fails_with(401, 403, 503)
    async def list_targets(principal: Principal) -> NoticeTargetsList:
        admitted(config, principal)
        found = await targets.targets_of(principal.tenant_id)
        return NoticeTargetsList([_view(one) for one in found])

    @bp.post(PATH)
    @guard.require_auth("admin")
    @validate_response(NoticeTargetChanged)
    @fails_with(400, 401, 403, 409, 413, 415, 503)
    @json_body(NewNoticeTarget)
    async def create(data: NewNoticeTarget, principal: Principal) -> NoticeTargetChanged:
        actor = admitted(config, principal)
        target = _target(principal.tenant_id, data.id, data)
        made = await targets.create(actor.name, actor.address, target)
        return NoticeTargetChanged(True, _view(made))

    _add_one(bp, config, targets, guard)
    return bp


def _add_one(bp: Blueprint, config: ServerConfig, targets: TargetService, guard: Guard) -> None:
    one = f"{PATH}/<target_id>"

    @bp.put(one)
    @guard.require_auth("admin")
    @validate_response(NoticeTargetChanged)
    @fails_with(400, 401, 403, 404, 409, 413, 415, 503)
    @json_body(NoticeTargetFields)
    async def replace(
        target_id: str, data: NoticeTargetFields, principal: Principal
    ) -> NoticeTargetChanged:
        actor = admitted(config, principal)
        target = _target(principal.tenant_id, target_id, data)
        keep = data.secret is None
        after = await targets.replace(actor.name, actor.address, target, keep_secret=keep)
        return NoticeTargetChanged(True, _view(after))

    @bp.delete(one)
    @guard.require_auth("admin")
    @validate_response(NoticeTargetDeleted)
    @fails_with(401, 403, 404, 503)
    async def delete(target_id: str, principal: Principal) -> NoticeTargetDeleted:
        actor = admitted(config, principal)
        await targets.delete(actor.name, actor.address, principal.tenant_id, target_id)
        return NoticeTargetDeleted(True)

    @bp.post(f"{one}/test")
    @guard.require_auth("admin")
    @validate_response(NoticeTargetTested)
    @fails_with(401, 403, 404, 429, 503)
    async def test(target_id: str, principal: Principal) -> NoticeTargetTested:
        """Send a test notice now, and answer what happened."""
        actor = admitted(config, principal)
        done = await targets.test(actor.name, actor.address, principal.tenant_id, target_id)
        return NoticeTargetTested(done.delivered, done.error or None, done.took_ms)


def _target(tenant_id: str, target_id: str, data: NoticeTargetFields) -> NoticeTarget:
    return NoticeTarget(
        tenant_id=tenant_id,
        target_id=target_id,
        name=data.name,
        kind=data.kind,
        enabled=data.enabled,
        severity=data.severity,
        hours=data.hours,
        url=data.url,
        host=data.host,
        port=data.port,
        tls=data.tls,
        username=data.username,
        sender=data.sender,
        recipients=data.recipients,
        secret=data.secret or "",
    )


def _view(target: NoticeTarget) -> NoticeTargetView:
    return NoticeTargetView(
        id=target.target_id,
        name=target.name,
        kind=target.kind,
        enabled=target.enabled,
        severity=target.severity,
        hours=target.hours,
        url=target.url,
        host=target.host,
        port=target.port,
        tls=target.tls,
        username=target.username,
        sender=target.sender,
        recipients=target.recipients,
        secret_set=bool(target.secret),
        created_at=target.created_at,
        created_by=target.created_by,
        updated_at=target.updated_at,
        updated_by=target.updated_by,
    )
