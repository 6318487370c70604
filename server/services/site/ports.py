"""The ports between the processes of a site: notices, a shared cache, and a history's tip.

They make the server fast; its answers are correct without them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from server.services.site.site_clock import SiteClock


class Notices(Protocol):
    """Short texts to all other processes of the site.

    A notice may be lost or arrive twice, so correctness does not depend on it.
    """

    @property
    def reach_others(self) -> bool:
        """Whether all others get a notice that is sent now, as far as is known.

        False for some seconds after notices were lost in either direction. True for a process that
        runs alone.
        """

    def publish(self, topic: str, name: str) -> None:
        """Queue a notice to the others; it is sent soon."""

    def listen(self, topic: str, listener: Callable[[str], None]) -> None:
        """Call `listener` with the name of each notice on this topic, on the event loop."""


class NoNotices:
    """`Notices` of a process that runs alone."""

    reach_others = True

    def publish(self, topic: str, name: str) -> None:
        return

    def listen(self, topic: str, listener: Callable[[str], None]) -> None:
        return


class SharedCache(Protocol):
    """Short-lived values that every process may read.

    A cache that cannot be reached looks empty, so correctness does not depend on it. Nothing
    raises, and every call ends within a fraction of a second.
    """

    async def read(self, keys: Sequence[str]) -> list[tuple[bytes, int]]:
        """Each key's value and its remaining milliseconds; an empty value if the key has none."""

    def keep(self, key: str, value: bytes, milliseconds: int) -> None:
        """Store a value soon, until `milliseconds` from now.

        It is not stored if the key has a value, or if `forget` dropped the key a moment ago. A
        cache that was never read from stores nothing.
        """

    async def forget(self, keys: Sequence[str]) -> None:
        """Drop these keys, and for some seconds store no value for them.

        A value that was read from the store before the change therefore cannot return.
        """


class CacheOf(SharedCache):
    """The part of `cache` for one store: a site on another store may share the cache."""

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
class SharedSite:
    """The site as one process sees it. `cache` and `clock` are None if the process runs alone.

    `history_tip` returns the tip of a tenant's event history as text: the text changes with every
    reading that a process stored and announced. Raises Unavailable.
    """

    notices: Notices
    cache: SharedCache | None
    history_tip: Callable[[str], Awaitable[str]]
    clock: SiteClock | None = None
