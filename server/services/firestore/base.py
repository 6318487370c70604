"""Helpers for all stores: makes document ids from parts and splits long lists of ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from server.services.ports.documents import BATCH_MAX


def document_id(*parts: str) -> str:
    """Join parts with `_` to an unambiguous id; a `_` inside a part is escaped.

    >>> document_id("a_b", "c") == document_id("a", "b_c")
    False
    """
    joined = "_".join(parts)
    if joined.count("_") == len(parts) - 1 and "%" not in joined and "/" not in joined:
        return joined
    return "_".join(map(escaped, parts))


def escaped(part: str) -> str:
    """A part in the form that it has in a `document_id`."""
    if "%" in part or "_" in part or "/" in part:
        return part.replace("%", "%25").replace("_", "%5F").replace("/", "%2F")
    return part


def in_parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """The ids in slices of at most BATCH_MAX, the limit of one call."""
    return (ids[start : start + BATCH_MAX] for start in range(0, len(ids), BATCH_MAX))
