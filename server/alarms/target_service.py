"""TargetService: what admins do to notice targets; each change is audited without the secret."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from server.alarms.alarm import Alarm
from server.alarms.notice_models import NoticeTarget
from server.alarms.notices import AlarmNotices
from server.alarms.target_health import TargetHealth
from server.alarms.target_rules import check_target, moved
from server.alarms.targets.message import NoticeItem, NoticeMessage, message_of
from server.alarms.targets.sending import NoticeSender
from server.alarms.targets.sockets import NotSent
from server.alarms.targets_store import NoticeTargetsStore
from server.common.clock import Clock
from server.common.errors import InvalidField, RateLimited, Unavailable
from server.services.firestore.audit_store import AuditStore
from server.services.ports.documents import Create

# Tests that are under way at a time in one process; each takes at most ten seconds.
TESTS_MAX, RETRY_AFTER_S = 4, 10


class TargetTest(NamedTuple):
    """Whether a test notice arrived, why not, and how long that took in ms."""

    delivered: bool
    error: str
    took_ms: int


class TargetService:
    """The targets of each tenant."""

    def __init__(
        self,
        store: NoticeTargetsStore,
        audit: AuditStore,
        notices: AlarmNotices,
        sender: NoticeSender,
        health: TargetHealth,
        clock: Clock,
        timezone: str,
        arrived: Callable[[NoticeTarget], Awaitable[None]],
    ) -> None:
        self._store = store
        self._audit = audit
        self._notices = notices
        self._sender = sender
        self._health = health
        self._clock = clock
        self._timezone = timezone
        self._arrived = arrived
        self._testing = 0

    async def targets_of(self, tenant_id: str) -> list[NoticeTarget]:
        """The tenant's targets by name."""
        return await self._store.targets_of(tenant_id)

    async def create(self, by: str, address: str, target: NoticeTarget) -> NoticeTarget:
        """Store a new target, which gets an id if it has none; return it.

        Raises InvalidField, NoticeTargetExists, Conflict.
        """
        now = self._clock.now_ms()
        made = msgspec.structs.replace(
            target,
            target_id=target.target_id or secrets.token_hex(8),
            created_at=now,
            created_by=by,
            updated_at=now,
            updated_by=by,
        )
        self._check(made)
        entry = self._entry("NOTICE_TARGET_CREATED", by, address, made)
        await self._store.create_target(made, entry)
        self._notices.changed(made.tenant_id)
        return made

    async def replace(
        self, by: str, address: str, target: NoticeTarget, *, keep_secret: bool
    ) -> NoticeTarget:
        """Replace the target of this id; return it as it is stored.

        With `keep_secret` the secret stays, unless the target leads elsewhere now: then it must be
        given again, since another server would learn it. Raises InvalidField, NoSuchNoticeTarget,
        VersionConflict.
        """
        before, version = await self._store.get_target(target.tenant_id, target.target_id)
        if keep_secret and before.secret:
            if moved(before, target):
                raise InvalidField("secret", "is required again, as the target leads elsewhere now")
            target = msgspec.structs.replace(target, secret=before.secret)
        after = msgspec.structs.replace(
            target,
            created_at=before.created_at,
            created_by=before.created_by,
            updated_at=self._clock.now_ms(),
            updated_by=by,
        )
        self._check(after)
        entry = self._entry(
            "NOTICE_TARGET_CHANGED",
            by,
            address,
            after,
            new_secret=after.secret != before.secret,
            before=_shown(before),
        )
        await self._store.replace_target(after, version, entry)
        self._health.forget((after.tenant_id, after.target_id))
        self._notices.changed(after.tenant_id)
        return after

    async def delete(self, by: str, address: str, tenant_id: str, target_id: str) -> None:
        """Delete a target; notices that wait for it are dropped. Raises NoSuchNoticeTarget."""
        target, version = await self._store.get_target(tenant_id, target_id)
        entry = self._entry("NOTICE_TARGET_DELETED", by, address, target)
        await self._store.delete_target(target, version, entry)
        self._health.forget((tenant_id, target_id))
        self._notices.changed(tenant_id)

    async def test(self, by: str, address: str, tenant_id: str, target_id: str) -> TargetTest:
        """Send a test notice now, whatever the severity and the hours of the target.

        Raises NoSuchNoticeTarget, and RateLimited if too many tests are under way.
        """
        target, _ = await self._store.get_target(tenant_id, target_id)
        if self._testing >= TESTS_MAX:
            raise RateLimited(RETRY_AFTER_S)
        self._testing += 1
        begun = self._clock.monotonic()
        error = ""
        try:
            await self._sender.send(target, self._test_message(target))
            with contextlib.suppress(Unavailable):  # then it follows later
                await self._arrived(target)
        except NotSent as failure:
            error = str(failure)
        finally:
            self._testing -= 1
        took_ms = int((self._clock.monotonic() - begun) * 1000)
        await self._audit.log_event(
            "NOTICE_TARGET_TESTED",
            tenant_id=tenant_id,
            username=by,
            address=address,
            success=not error,
            details={**_shown(target), "error": error},
        )
        return TargetTest(not error, error, took_ms)

    def _check(self, target: NoticeTarget) -> None:
        check_target(target)
        why = self._sender.forbidden(target)
        if why:
            raise InvalidField("secret", why)

    def _test_message(self, target: NoticeTarget) -> NoticeMessage:
        now, own_id = self._clock.now_ms(), secrets.token_hex(16)
        alarm = Alarm(
            id=f"test-{own_id}",
            slot="test",
            number=1,
            tenant_id=target.tenant_id,
            kind="test",
            severity="info",
            state="active",
            is_open=True,
            changed_ms=now,
            since_ms=now,
        )
        return message_of([NoticeItem(own_id, alarm, None)], now, self._timezone)

    def _entry(
        self, action: str, by: str, address: str, target: NoticeTarget, **details: object
    ) -> Create:
        return self._audit.entry(
            action,
            tenant_id=target.tenant_id,
            username=by,
            address=address,
            details={**_shown(target), **details},
        )


def _shown(target: NoticeTarget) -> dict[str, object]:
    """What the audit log says of a target: of a URL the host alone, as the rest may be a secret."""
    host = urlsplit(target.url).hostname if target.url else target.host
    return {
        "target": target.target_id,
        "name": target.name,
        "kind": target.kind,
        "host": host or "",
        "severity": target.severity,
        "enabled": target.enabled,
        "recipients": target.recipients,
    }
