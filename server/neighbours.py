"""What the processes of a site share beside the store: notices, a cache, and a tenant's place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from server.notices import Notices


class SharedCache(Protocol):
    """Short-lived values that every process may read.

    It makes things quick, not right: while it cannot be reached it holds nothing. Nothing raises,
    and every call ends within a fraction of a second.
    """

    async def read(self, keys: Sequence[str]) -> list[tuple[bytes, int]]:
        """Each key's value, and for how many milliseconds more; empty if it has none."""

    def keep(self, key: str, value: bytes, milliseconds: int) -> None:
        """Keep a value soon, for so long from now, unless the key has one, or was forgotten a
        moment ago. What was never asked anything keeps nothing."""

    async def forget(self, keys: Sequence[str]) -> None:
        """Drop these, and for some seconds whatever was read before and would be kept now."""


class CacheOf(SharedCache):
    """The part of `cache` that tells of one store: a site on another store may share the cache."""

    def __init__(self, cache: SharedCache, store: str) -> None:
        self._cache = cache
        self._store = store

    async def read(self, keys: Sequence[str]) -> list[tuple[bytes, int]]:
        return await self._cache.read([self._named(key) for key in keys])

    def keep(self, key: str, value: bytes, milliseconds: int) -> None:
        self._cache.keep(self._named(key), value, milliseconds)

    async def forget(self, keys: Sequence[str]) -> None:
        await self._cache.forget([self._named(key) for key in keys])

    def _named(self, key: str) -> str:
        return f"{self._store}/{key}"


@dataclass(frozen=True)
class Neighbours:
    """The other processes, as one process reaches them. `cache` is None where there are none.

    `place` says where a tenant's history of events ends: it is another text after every reading
    that some process stored and announced. Raises Unavailable.
    """

    notices: Notices
    cache: SharedCache | None
    place: Callable[[str], Awaitable[str]]
