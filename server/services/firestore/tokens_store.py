"""TokensStore: stores API tokens and display tokens under a digest of their secrets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from server.common.errors import NotFound
from server.services.firestore.base import document_id, in_parts
from server.services.firestore.models import ApiToken, fields_of
from server.services.ports.documents import (
    PAGE_MAX,
    AlreadyExists,
    Create,
    Delete,
    Document,
    DocumentClient,
    Filter,
    Put,
    Query,
    Reads,
    Update,
    VersionConflict,
    Write,
)

COLLECTION = "api_tokens"
# Which token has a name now, so that two tokens of a tenant never have the same one.
NAMES = "api_token_names"


class TokenExists(AlreadyExists):
    """The tenant has a token of this name."""

    code = "TOKEN_EXISTS"


class NoSuchToken(NotFound):
    """The tenant has no token of this name, or it was revoked at this moment."""

    error = "No such token"
    code = "NO_SUCH_TOKEN"


class TokensStore:
    """Tokens on a `DocumentClient`.

    A revoked token stays for a while, so that its further uses have a name.
    """

    def __init__(self, client: DocumentClient, reads: Reads) -> None:
        self._client = client
        self._reads = reads

    async def create(self, token: ApiToken, beside: Write) -> None:
        """Store a new token, in one write with `beside`. Raises TokenExists, InvalidField."""
        owner = {"tenant_id": token.tenant_id, "name": token.name, "digest": token.digest}
        name = Create(NAMES, _name_id(token), owner)
        try:
            await self._client.write(
                [Create(COLLECTION, token.digest, fields_of(token)), name, beside]
            )
        except AlreadyExists:
            raise TokenExists(COLLECTION, token.name) from None

    async def get(self, digest: str, *, fresh: bool = False) -> ApiToken | None:
        """The token with this digest, which may be revoked, or None.

        Unless `fresh`, it may come from the cache.
        """
        document = await (self._client if fresh else self._reads).get(COLLECTION, digest)
        return _token(document) if document else None

    async def get_many(self, digests: Sequence[str]) -> dict[str, ApiToken]:
        """The tokens that exist among these, by digest; see `get`."""
        found: dict[str, ApiToken] = {}
        for some in in_parts(digests):
            documents = await self._reads.get_many(COLLECTION, some)
            found |= {digest: _token(document) for digest, document in documents.items()}
        return found

    async def list_tokens(self, tenant_id: str | None = None) -> list[ApiToken]:
        """The tokens of one tenant, or with None of all, by tenant and name; not revoked ones."""
        which = () if tenant_id is None else (Filter("tenant_id", "==", tenant_id),)
        digests: list[str] = []
        cursor: str | None = None
        while True:
            page = await self._client.query(Query(NAMES, which), PAGE_MAX, cursor)
            digests += [document.fields["digest"] for document in page.documents]
            cursor = page.next_cursor
            if cursor is None:
                break
        found: Iterable[ApiToken] = (await self.get_many(digests)).values()
        live = [token for token in found if not token.revoked_at]
        return sorted(live, key=lambda token: (token.tenant_id, token.name))

    async def set_last_used(self, digest: str, now_ms: int) -> None:
        """Note that the token was used now. Raises VersionConflict if it does not exist."""
        await self._client.write([Update(COLLECTION, digest, {"last_used": now_ms})])

    async def open_link(self, link: ApiToken, digest: str, beside: Write) -> ApiToken:
        """Let the secret with this digest replace that of a display's link, which ends.

        Of several calls for one link, one succeeds. Raises NoSuchToken.
        """
        names_id = _name_id(link)
        old, name = [
            await self._client.get(collection, doc_id)
            for collection, doc_id in ((COLLECTION, link.digest), (NAMES, names_id))
        ]
        if old is None or name is None or _token(old).kind != "link" or _token(old).revoked_at:
            raise NoSuchToken
        opened = msgspec.structs.replace(_token(old), digest=digest, kind="display")
        owner = {**name.fields, "digest": digest}
        await self._write_over(
            [
                Delete(COLLECTION, link.digest, if_version=old.version),
                Create(COLLECTION, digest, fields_of(opened)),
                Put(NAMES, names_id, owner, if_version=name.version),
                beside,
            ]
        )
        return opened

    async def revoke(
        self, tenant_id: str, name: str, revoked_at: int, expire_at: int, beside: Write
    ) -> ApiToken:
        """Revoke the token of this name, in one write with `beside`, and return it.

        Its document stays until `expire_at`; its name is free at once. Raises NoSuchToken.
        """
        named = await self._client.get(NAMES, document_id(tenant_id, name))
        if named is None:
            raise NoSuchToken
        digest = named.fields["digest"]
        fields = {"revoked_at": revoked_at, "expire_at": expire_at}
        writes: list[Write] = [
            Update(COLLECTION, digest, fields),
            Delete(NAMES, named.id, if_version=named.version),
            beside,
        ]
        await self._write_over(writes)
        token = await self.get(digest, fresh=True)
        if token is None:
            raise NoSuchToken
        return token

    async def _write_over(self, writes: Sequence[Write]) -> None:
        try:
            await self._client.write(writes)
        except VersionConflict:
            raise NoSuchToken from None


def _name_id(token: ApiToken) -> str:
    return document_id(token.tenant_id, token.name)


def _token(document: Document) -> ApiToken:
    fields: dict[str, Any] = dict(document.fields)
    return msgspec.convert(fields, ApiToken)
