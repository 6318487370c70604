"""A site in the test's process whose store goes away and comes back: the real services on a real
SQLite file, on a clock that the test sets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from bas_server import INDEXES
from server.auth.device_keys import DeviceKeys
from server.auth.wrong_keys import WrongKeys
from server.clock import Clock
from server.control.decision import Rules
from server.control.factory import Control, control
from server.control.posted import Posted
from server.control.views import Command, ZoneStatus
from server.control.zone_cache import ZoneCache
from server.errors import BasError, Conflict
from server.metrics import Metrics
from server.routes.device_posts import NO_KEY, DevicePosts, RepeatKey, Sender
from server.services.embedded.sqlite_client import SqliteClient
from server.services.firestore import store_watch
from server.services.firestore.base import (
    Aggregate,
    Document,
    DocumentClient,
    Page,
    Query,
    StoreUnavailable,
    Write,
    document_id,
)
from server.services.firestore.devices_store import COLLECTION, KEYS
from server.services.firestore.indexes import load_indexes
from server.services.firestore.models import Reading, ZoneRecord
from server.services.firestore.service_factory import Stores, create_stores
from server.services.firestore.zones_store import ZONES
from server.services.sse_service.backend import Cursor
from server.services.sse_service.factory import sse_service
from server.services.sse_service.memory_backend import MemoryLog
from tests.support.clock import ManualClock
from tests.support.stream import FrameSplitter

TENANT, LAB = "default", "lab"
HOT, COLD = 300, 200
GRACE_S = 300
DEVICES = COLLECTION, KEYS
MIN_MS = 10_000

How = Literal["works", "gone", "unanswered", "late"]
"""What becomes of a write: `gone`: nothing; `unanswered`: it is done; `late`: it is done once the
store is back. Only of one that `works` the caller hears so."""


class Unreliable(DocumentClient):
    """One process's way to the store."""

    def __init__(self, client: DocumentClient) -> None:
        self._client = client
        self.how: How = "works"
        self.reads = True
        # What is to happen before the next write; and what every call waits for that is not of
        # a device and its key.
        self.before_write: Callable[[], Awaitable[object]] | None = None
        self.gate: asyncio.Event | None = None
        self.calls = 0
        self._late: list[Sequence[Write]] = []

    async def _pass(self, collection: str = "") -> None:
        self.calls += 1
        if self.gate is not None and collection not in DEVICES:
            await self.gate.wait()
        if not self.reads:
            raise StoreUnavailable(message="gone")

    async def get(self, collection: str, doc_id: str) -> Document | None:
        await self._pass(collection)
        return await self._client.get(collection, doc_id)

    async def get_many(self, collection: str, doc_ids: Sequence[str]) -> Mapping[str, Document]:
        await self._pass(collection)
        return await self._client.get_many(collection, doc_ids)

    async def query(self, query: Query, limit: int, cursor: str | None = None) -> Page:
        await self._pass()
        return await self._client.query(query, limit, cursor)

    async def aggregate(self, query: Query, field: str | None = None) -> Aggregate:
        await self._pass()
        return await self._client.aggregate(query, field)

    async def ping(self) -> None:
        await self._pass()

    async def write(self, writes: Sequence[Write]) -> list[str]:
        self.calls += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.before_write is not None:
            before, self.before_write = self.before_write, None
            await before()
        if self.how == "works":
            return await self._client.write(writes)
        if self.how == "unanswered":
            await self._client.write(writes)
        if self.how == "late":
            self._late.append(writes)
        raise StoreUnavailable(message=self.how)

    async def work(self) -> None:
        """From now on; what was late comes first."""
        for writes in self._late:
            try:
                await self._client.write(writes)
            except Conflict:
                continue
        self._late.clear()
        self.how, self.reads, self.gate = "works", True, None


class Wire:
    """The notices between the processes of a site. `lose`: how many are lost before one comes."""

    def __init__(self) -> None:
        self.up = True
        self.lose = 0
        self.ends: list[WireEnd] = []


class WireEnd:
    """`Notices` of one process."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.listeners: dict[str, Callable[[str], None]] = {}
        self.told: list[tuple[str, str]] = []
        wire.ends.append(self)

    @property
    def reach_others(self) -> bool:
        return self._wire.up

    def tell(self, topic: str, name: str) -> None:
        self.told.append((topic, name))
        if not self._wire.up:
            return
        if name and self._wire.lose:
            self._wire.lose -= 1
            return
        for other in self._wire.ends:
            if other is not self and topic in other.listeners:
                other.listeners[topic](name)

    def listen(self, topic: str, listener: Callable[[str], None]) -> None:
        self.listeners[topic] = listener


@dataclass
class Process:
    """One process of the site."""

    store: Unreliable
    stores: Stores
    control: Control
    posts: DevicePosts
    keys: DeviceKeys
    metrics: Metrics
    notices: WireEnd
    clock: Clock
    refused: list[tuple[str, str, str]]

    async def post(
        self, temp_tenths: Any = HOT, ok: Any = True, device_id: str = LAB, **more: Any
    ) -> Command:
        """What a device is told that posts this."""
        key = more.pop("device_key", None)
        repeat: RepeatKey = more.pop("repeat", NO_KEY)
        address: str = more.pop("address", "")
        body = Posted(temp_tenths=temp_tenths, sensor_ok=ok, device_id=device_id, **more)
        return await self.posts.one(Sender(key, None, None, address), body, repeat)

    @property
    def cache(self) -> ZoneCache:
        return self.control.batches._cache

    @property
    def away(self) -> bool:
        return self.stores.watch.away

    def lose(self, how: How = "gone", *, reads: bool = True) -> None:
        """From now on no write of it works."""
        self.store.how, self.store.reads = how, reads

    async def come_back(self) -> None:
        """The store works again; return once the process has told it what devices were told."""
        await self.store.work()
        watch = self.stores.watch
        if watch.error is None:
            return
        tasks = set(watch._tasks)
        watch.try_now()
        await asyncio.wait(tasks, timeout=5)
        assert not self.away

    async def record(self, device_id: str = LAB) -> ZoneRecord:
        """The zone as the store has it."""
        document = await self.store._client.get(ZONES, document_id(TENANT, device_id))
        assert document is not None
        return msgspec.convert(document.fields, ZoneRecord)

    async def status(self, device_id: str = LAB) -> ZoneStatus:
        return await self.control.zones.status(TENANT, device_id)

    async def stored(self) -> list[Reading]:
        """Every stored reading, oldest first."""
        found = await self.stores.telemetry.query_recent(TENANT, None, 10_000)
        return found[::-1]


@dataclass
class Site:
    """Processes on one file and one clock."""

    path: Path
    clock: ManualClock
    resources: AsyncExitStack
    wire: Wire = field(default_factory=Wire)
    log: MemoryLog = field(default_factory=lambda: MemoryLog(10_000, 10_000_000))
    processes: list[Process] = field(default_factory=list)
    _begun: Cursor | None = None

    async def start(self, *, how: How = "works", mode: str = "optional") -> Process:
        """One process more."""
        metrics = Metrics()
        client = SqliteClient(self.path, load_indexes(INDEXES), self.clock, metrics)
        unreliable = Unreliable(await self.resources.enter_async_context(client))
        unreliable.how = how
        stores = create_stores(unreliable, self.clock, 1, metrics)
        self.resources.push_async_callback(stores.watch.stop)
        await stores.watch.check()
        sse = await self.resources.enter_async_context(
            sse_service(
                self.log, self.clock, metrics, queue_max=100, heartbeat_s=20, max_streams=10
            )
        )
        notices, rules = WireEnd(self.wire), Rules(90, 60_000, GRACE_S)
        own = await self.resources.enter_async_context(
            control(stores, sse, notices, self.clock, metrics, rules)
        )
        keys = DeviceKeys(stores.devices, mode, stores.watch, WrongKeys(self.clock))
        parts = own.batches, own.relays, keys, stores.audit, metrics, self.clock
        refused: list[tuple[str, str, str]] = []
        posts = DevicePosts(*parts, lambda *about: refused.append(about))
        self.resources.push_async_callback(posts.close, 5)
        made = Process(unreliable, stores, own, posts, keys, metrics, notices, self.clock, refused)
        self.processes.append(made)
        return made

    async def lose(self, how: How = "gone", *, reads: bool = True) -> None:
        """Of all processes, which learn it from a write that is no post's."""
        for process in self.processes:
            process.lose(how, reads=reads)
            await process.stores.watch.check()
            assert process.away

    async def come_back(self) -> None:
        for process in self.processes:
            await process.come_back()

    async def events(self) -> list[tuple[str, dict[str, Any]]]:
        """What was told on the live stream since the last call: names and data."""
        await asyncio.sleep(0.01)  # those that are on their way
        tip = await self.log.tip(TENANT)
        since = self._begun or Cursor(tip.epoch, 0)
        self._begun = tip
        entries = await self.log.read_after(TENANT, since, 10_000)
        frames = FrameSplitter().feed(b"".join(entry.frame for entry in entries or []))
        return [(frame.event or "", json.loads(frame.data or "")) for frame in frames]


class Cooler:
    """A device as its owner hears it: every command that came, and when it switched."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.on = False
        self.switched_ms: int | None = None
        self.short: list[str] = []

    def obey(self, command: Command, *, cut: bool = False) -> None:
        """Do as told; `cut` says that it may run shorter than the minimum."""
        if command.cool_active == self.on:
            return
        self.on = command.cool_active
        now, since = self._clock.ms, self.switched_ms
        if since is not None and now - since < MIN_MS and not (cut and not self.on):
            self.short.append(f"{'on' if self.on else 'off'} after {now - since} ms")
        self.switched_ms = now


def hurry(monkeypatch: Any) -> None:
    """What is tried or told once a second, is so every few milliseconds."""
    from server.control import relay_notices

    monkeypatch.setattr(store_watch, "TRY_S", 0.01)
    monkeypatch.setattr(relay_notices, "TELL_EVERY_S", 0.01)


def told(command: Command) -> tuple[bool, bool, bool]:
    """Cooler, heat, stored."""
    return command.cool_active, command.heat_active, command.stored


async def refused(post: Awaitable[object]) -> BasError:
    """The error that it must end in."""
    try:
        await post
    except BasError as error:
        return error
    raise AssertionError("it was not refused")


def of(events: Iterable[tuple[str, dict[str, Any]]], name: str) -> list[dict[str, Any]]:
    """The data of the events of this name."""
    return [data for event, data in events if event == name]
