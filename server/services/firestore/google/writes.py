"""Builds one Firestore commit from batches, and reads its answer; pure, without calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.cloud.firestore_v1 import types

from server.services.firestore.google.batch import Demand, Effect, FoldedBatch, Kind
from server.services.firestore.google.values import TOKEN, encode_fields, field_path, version_of
from server.services.ports.documents import DocumentKey

CommitRequest = types.CommitRequest.pb()


def commit_request(batches: Sequence[FoldedBatch], database: str) -> Any:
    """The commit of these batches, which share no document; it is applied whole or not at all."""
    request = CommitRequest(database=database)
    for batch in batches:
        for key, effect in batch.effects.items():
            _add(request.writes.add(), document_name(database, key), effect, batch.token)
    return request


def versions(batches: Sequence[FoldedBatch], response: Any) -> list[list[str]]:
    """The versions of each batch's writes, from the answer to the commit.

    All documents of a batch have the same time; a deletion has none.
    """
    results = iter(response.write_results)
    return [
        batch.versions(max((version_of(next(results).update_time) for _ in batch.effects), key=int))
        for batch in batches
    ]


def document_name(database: str, key: DocumentKey) -> str:
    """A document's full name."""
    return f"{database}/documents/{key[0]}/{key[1]}"


def _add(write: Any, name: str, effect: Effect, token: str) -> None:
    _demand(write.current_document, effect.demand)
    if effect.kind is Kind.DELETE:
        write.delete = name
        return
    write.update.name = name
    encode_fields(write.update.fields, effect.fields, token)
    if effect.kind is Kind.MERGE:
        # The token is in the mask even without other fields: each write must make a new version.
        write.update_mask.field_paths.extend([*map(field_path, effect.fields), TOKEN])


def _demand(precondition: Any, demand: Demand) -> None:
    if demand.exists is not None:
        precondition.exists = demand.exists
    elif demand.version is not None:
        seconds, nanoseconds = divmod(demand.version, 1_000_000_000)
        precondition.update_time.SetInParent()
        precondition.update_time.seconds = seconds
        precondition.update_time.nanos = nanoseconds
