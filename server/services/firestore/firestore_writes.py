"""Batches as one of Firestore's commits; pure, nothing is sent here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.cloud.firestore_v1 import types

from server.services.firestore.batches import Batch, Demand, Effect, Key, Kind
from server.services.firestore.firestore_values import TOKEN, encode_fields, field_path, version_of

CommitRequest = types.CommitRequest.pb()


def commit_request(batches: Sequence[Batch], database: str) -> Any:
    """The commit of these batches, which share no document, whole or not at all."""
    request = CommitRequest(database=database)
    for batch in batches:
        for key, effect in batch.effects.items():
            _add(request.writes.add(), document_name(database, key), effect, batch.token)
    return request


def versions(batches: Sequence[Batch], response: Any) -> list[list[str]]:
    """The versions of each batch's writes, out of the answer to its commit.

    All documents of a batch have one time; a deletion has none.
    """
    results = iter(response.write_results)
    return [
        batch.versions(max((version_of(next(results).update_time) for _ in batch.effects), key=int))
        for batch in batches
    ]


def document_name(database: str, key: Key) -> str:
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
        # The token is in the mask even where nothing else is: each write makes a new version.
        write.update_mask.field_paths.extend([*map(field_path, effect.fields), TOKEN])


def _demand(precondition: Any, demand: Demand) -> None:
    if demand.exists is not None:
        precondition.exists = demand.exists
    elif demand.version is not None:
        seconds, nanoseconds = divmod(demand.version, 1_000_000_000)
        precondition.update_time.SetInParent()
        precondition.update_time.seconds = seconds
        precondition.update_time.nanos = nanoseconds
