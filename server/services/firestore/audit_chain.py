"""The hash chain over a tenant's audit entries: how an entry is linked to the one before; pure.

A link is made some seconds after its entry is stored, and is part of the entry's document. Entries
are numbered from 1 in the order of linking, which is about that of their times. A number is never
given twice, so a gap shows a deletion; each link names the time at which the entry before expires,
so a deletion by retention differs from one by hand, also if Firestore deletes expired documents.

The hashes have no key. Somebody who can write to the store and knows this file can link all later
entries again; an end (number and hash) that was noted elsewhere shows that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from server.services.firestore.base import document_id
from server.services.firestore.models import AuditEntry
from server.services.ports.documents import Create, Document, Fields, Put, Update

ENTRIES = "audit_log"
ENDS = "audit_chain"
# The fields of an entry that hold its link: the hash covers all others.
NUMBER, LINK = "link", "chain"
# Hashed in front of each entry: another form of the chain would get another one.
FORM = "bas audit 1"

_encoder = msgspec.json.Encoder(order="deterministic")


class ChainLink(msgspec.Struct, frozen=True, kw_only=True):
    """The link of an entry.

    `after` is the hash of the entry before, "" for the first; `after_expires` is when retention may
    delete that entry (Unix ms), 0 for never. `linked_ms` is when the link was made.
    """

    after: str
    after_expires: int
    linked_ms: int
    hash: str


class ChainEnd(msgspec.Struct, frozen=True, kw_only=True):
    """The last link of a tenant's chain: its number, its hash, and its entry's id and expiry.

    The document of a tenant that has no entries yet is missing.
    """

    tenant_id: str
    number: int = 0
    hash: str = ""
    expires: int = 0
    entry_id: str = ""


class Linkable(msgspec.Struct, frozen=True):
    """An entry to be linked: its document and the tenant and time in it."""

    document: Document
    tenant_id: str
    timestamp_ms: int


def linkable(document: Document) -> Linkable | None:
    """The entry in a document; None if it has no tenant or no time, as no entry of ours."""
    tenant_id, time_ms = document.fields.get("tenant_id"), document.fields.get("timestamp_ms")
    if type(tenant_id) is not str or type(time_ms) is not int:
        return None
    try:
        msgspec.convert({**document.fields, NUMBER: 0, LINK: None}, AuditEntry)
    except msgspec.ValidationError:
        return None
    return Linkable(document, tenant_id, time_ms)


def link_hash(number: int, entry_id: str, fields: Fields, link: ChainLink) -> str:
    """The hash over an entry, its number and its link; the link's own hash does not count."""
    content = {name: value for name, value in fields.items() if name not in (NUMBER, LINK)}
    parts = (FORM, number, entry_id, link.after, link.after_expires, link.linked_ms, content)
    return hashlib.sha256(_encoder.encode(parts)).hexdigest()


def expiry(fields: Fields) -> int:
    """When retention may delete an entry (Unix ms); 0 for never."""
    expires = fields.get("expire_at")
    return expires if type(expires) is int else 0


def linked(
    end: ChainEnd, entries: Iterable[Document], now_ms: int
) -> tuple[ChainEnd, list[Update]]:
    """Link these entries behind `end`: the new end, and the writes of the links.

    A write fails with VersionConflict if its entry was changed or deleted since it was read.
    """
    updates = []
    for entry in entries:
        link = ChainLink(after=end.hash, after_expires=end.expires, linked_ms=now_ms, hash="")
        number = end.number + 1
        link = msgspec.structs.replace(link, hash=link_hash(number, entry.id, entry.fields, link))
        fields = {NUMBER: number, LINK: msgspec.to_builtins(link)}
        updates.append(Update(ENTRIES, entry.id, fields, if_version=entry.version))
        end = ChainEnd(
            tenant_id=end.tenant_id,
            number=number,
            hash=link.hash,
            expires=expiry(entry.fields),
            entry_id=entry.id,
        )
    return end, updates


def end_id(tenant_id: str) -> str:
    """The id of the document with the end of a tenant's chain."""
    return document_id(tenant_id)


def end_write(end: ChainEnd, version: str | None) -> Create | Put:
    """The write of a chain's end, if it still has `version`; None: if it does not exist yet."""
    fields = msgspec.to_builtins(end)
    if version is None:
        return Create(ENDS, end_id(end.tenant_id), fields)
    return Put(ENDS, end_id(end.tenant_id), fields, if_version=version)
