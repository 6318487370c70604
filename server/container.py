"""The types of what bas_server.py opens: the parts of one process, and the openers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from quart import Quart

from server.alarms.factory import Alarms
from server.auth.factory import Auth
from server.commands.admin import Admin
from server.common.clock import Clock
from server.common.metrics import Metrics
from server.config.config import ServerConfig
from server.control.factory import Control
from server.http.plain_posts import PlainPosts
from server.services.firestore.service_factory import Stores
from server.services.ports.documents import DocumentClient, Retention
from server.services.ports.readings import Compaction, ReadingHistory
from server.services.sse_service.service import SSEService
from server.sync_api.services import Services


class Upkeep(Protocol):
    """Work beside the requests."""

    def start(self) -> None: ...
    async def stop(self) -> None: ...


@dataclass(frozen=True)
class Base:
    """The stores and the access checks, which the server and the commands share.

    `clock` is the machine's; `site_clock` has one time for all processes of the site: it dates what
    several of them read.
    """

    config: ServerConfig
    clock: Clock
    site_clock: Clock
    metrics: Metrics
    client: DocumentClient
    expiring: Retention
    compaction: Compaction
    upkeep: Sequence[Upkeep]
    store_stuck_s: Callable[[], float]
    """Seconds for which the thread that writes to SQLite has not come back."""
    raise_if_damaged: Callable[[], None]
    stores: Stores
    auth: Auth
    admin: Admin

    @property
    def tasks(self) -> Sequence[Upkeep]:
        """What a server process runs for the stores and the access checks."""
        return (*self.upkeep, *self.stores.upkeep, self.auth.key_uses)


@dataclass(frozen=True)
class Site:
    """The stores, the stream, the control and the sync faces for threads: all but HTTP."""

    base: Base
    sse: SSEService
    control: Control
    services: Services
    alarms: Alarms


@dataclass(frozen=True)
class Container(Site):
    """One running server process."""

    app: Quart
    posts: PlainPosts


@dataclass(frozen=True)
class CopyEnd:
    """A store that is copied from or to."""

    documents: DocumentClient
    readings: ReadingHistory


# bas_server.py passes these openers on, since only it knows the concrete stores.
OpenBase: TypeAlias = Callable[[ServerConfig], AbstractAsyncContextManager[Base]]
OpenContainer: TypeAlias = Callable[[ServerConfig], AbstractAsyncContextManager[Container]]
OpenBoth: TypeAlias = Callable[[ServerConfig], AbstractAsyncContextManager[Mapping[str, CopyEnd]]]
"""Opens both stores, `sqlite` and `firestore`, whichever of them the settings use."""
