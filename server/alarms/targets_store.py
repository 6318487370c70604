"""NoticeTargetsStore: stores where the notices of each tenant go."""

from __future__ import annotations

import msgspec

from server.alarms.notice_models import NoticeTarget
from server.common.errors import Conflict, NotFound
from server.services.firestore.base import document_id
from server.services.firestore.models import fields_of
from server.services.ports.documents import (
    AlreadyExists,
    Create,
    Delete,
    Document,
    DocumentClient,
    Filter,
    Put,
    Query,
    VersionConflict,
    Write,
)

COLLECTION = "notice_targets"
TARGETS_MAX = 100


class NoSuchNoticeTarget(NotFound):
    """The tenant has no notice target of this id."""

    error = "No such notice target"
    code = "NO_SUCH_NOTICE_TARGET"


class NoticeTargetExists(AlreadyExists):
    """The tenant has a notice target of this id."""

    code = "NOTICE_TARGET_EXISTS"


class NoticeTargetsStore:
    """Targets on a `DocumentClient`, whose secrets are stored as they are: they must be sent."""

    def __init__(self, client: DocumentClient) -> None:
        self._client = client

    async def targets_of(self, tenant_id: str) -> list[NoticeTarget]:
        """The tenant's targets by name; at most a few more than TARGETS_MAX."""
        query = Query(COLLECTION, (Filter("tenant_id", "==", tenant_id),))
        page = await self._client.query(query, 2 * TARGETS_MAX)
        return sorted(map(_target, page.documents), key=lambda one: (one.name, one.target_id))

    async def get_target(self, tenant_id: str, target_id: str) -> tuple[NoticeTarget, str]:
        """A target and its version. Raises NoSuchNoticeTarget."""
        document = await self._client.get(COLLECTION, document_id(tenant_id, target_id))
        if document is None or document.fields.get("tenant_id") != tenant_id:
            raise NoSuchNoticeTarget
        return _target(document), document.version

    async def create_target(self, target: NoticeTarget, beside: Write) -> None:
        """Store a new target, in one write with `beside`.

        Raises NoticeTargetExists, and Conflict if there are too many.
        """
        if len(await self.targets_of(target.tenant_id)) >= TARGETS_MAX:
            raise Conflict(
                "Too many notice targets",
                "TOO_MANY_NOTICE_TARGETS",
                f"a tenant has at most {TARGETS_MAX}: delete one first",
            )
        try:
            await self._client.write([Create(COLLECTION, _id(target), fields_of(target)), beside])
        except AlreadyExists:
            raise NoticeTargetExists(COLLECTION, target.target_id) from None

    async def replace_target(self, target: NoticeTarget, version: str, beside: Write) -> None:
        """Store a target over the version that was read. Raises VersionConflict."""
        put = Put(COLLECTION, _id(target), fields_of(target), if_version=version)
        await self._client.write([put, beside])

    async def delete_target(self, target: NoticeTarget, version: str, beside: Write) -> None:
        """Delete the version of a target that was read. Raises NoSuchNoticeTarget."""
        try:
            await self._client.write([Delete(COLLECTION, _id(target), if_version=version), beside])
        except VersionConflict:
            raise NoSuchNoticeTarget from None


def _id(target: NoticeTarget) -> str:
    return document_id(target.tenant_id, target.target_id)


def _target(document: Document) -> NoticeTarget:
    return msgspec.convert(document.fields, NoticeTarget)
