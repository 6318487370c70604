"""A site in the test's process with a store that a test makes fail: the real services on a real
SQLite file, with a clock that the test sets."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from bas_server import INDEXES
from server.alarms.alarm import AlarmListener
from server.alarms.factory import Alarms, create_alarms
from server.auth.device_keys import DeviceKeys
from server.auth.key_uses import KeyUses
from server.auth.sessions import digest
from server.auth.wrong_keys import WrongKeys
from server.common.clock import Clock
from server.common.errors import BasError, Conflict
from server.common.metrics import Metrics
from server.config.config import ServerConfig
from server.control.factory import Control, control
from server.control.messages import Command, ZoneStatus
from server.control.rules.decision import Rules
from server.control.rules.posted_body import Posted
from server.control.zone_cache import ZoneCache
from server.routes.device_posts import DevicePosts
from server.routes.sender import NO_KEY, RepeatKey, Sender
from server.services.firestore import store_watch
from server.services.firestore.base import document_id
from server.services.firestore.device_keys_store import KEYS
from server.services.firestore.devices_store import COLLECTION
from server.services.firestore.models import ZoneRecord
from server.services.firestore.service_factory import Stores, create_stores
from server.services.firestore.zones_store import ZONES
from server.services.ports.documents import (
    Aggregate,
    Document,
    DocumentClient,
    EmptyFields,
    Page,
    Query,
    StoreUnavailable,
    Write,
)
from server.services.ports.event_log import Cursor
from server.services.ports.indexes import load_indexes
from server.services.ports.readings import NewRow, Reading
from server.services.sqlite.client import SqliteClient
from server.services.sqlite.reading_history import SqliteHistory
from server.services.sse_service.factory import sse_service
from server.services.sse_service.memory_log import MemoryLog
from server.services.sse_service.stream_limits import StreamLimits
from tests.support.clock import ManualClock
from tests.support.stream import FrameSplitter

TENANT, LAB = "default", "lab"
HOT, COLD = 300, 200
GRACE_S = 300
DEVICES = COLLECTION, KEYS
MIN_MS = 10_000

How = Literal["works", "gone", "unanswered", "late"]
"""The fate of a write. `gone`: it is not done; `unanswered`: it is done; `late`: it is done when
the store is back. The caller gets an error in every case but `works`."""


class Unreliable(DocumentClient):
    """One process's client of the store, which can fail."""

    def __init__(self, client: DocumentClient) -> None:
        self._client = client
        self.how: How = "works"
        self.reads = True
        # `before_write` runs before the next write. Every call waits for `gate`, except those
        # that read a device and its key.
        self.before_write: Callable[[], Awaitable[object]] | None = None
        self.gate: asyncio.Event | None = None
        self.calls = 0
        self._late: list[Callable[[], Awaitable[list[str]]]] = []

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
        return await self.pass_write(lambda: self._client.write(writes))

    async def pass_write(self, write: Callable[[], Awaitable[list[str]]]) -> list[str]:
        self.calls += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.before_write is not None:
            before, self.before_write = self.before_write, None
            await before()
        if self.how == "works":
            return await write()
        if self.how == "unanswered":
            await write()
        if self.how == "late":
            self._late.append(write)
        raise StoreUnavailable(message=self.how)

    async def pass_read(self) -> None:
        await self._pass()

    async def work(self) -> None:
        """Do the late writes, then work again."""
        for write in self._late:
            try:
                await write()
            except Conflict:
                continue
        self._late.clear()
        self.how, self.reads, self.gate = "works", True, None


class UnreliableHistory(SqliteHistory):
    """The readings of the store, which fails in the same way as for the documents."""

    def __init__(self, client: SqliteClient, way: Unreliable) -> None:
        super().__init__(client)
        self._way = way

    async def write(self, documents: Sequence[Write], rows: Sequence[NewRow]) -> list[str]:
        write = super().write
        return await self._way.pass_write(lambda: write(documents, rows))

    async def write_if(
        self, documents: Sequence[Write], rows: Sequence[NewRow], demand: EmptyFields
    ) -> list[str]:
        write = super().write_if
        return await self._way.pass_write(lambda: write(documents, rows, demand))

    async def known(self, tenant_id: str, ids: Sequence[str]) -> dict[str, Reading]:
        await self._way.pass_read()
        return await super().known(tenant_id, ids)


class Wire:
    """Carries notices between the processes of a site; the next `lose` notices are lost."""

    def __init__(self) -> None:
        self.up = True
        self.lose = 0
        self.ends: list[WireEnd] = []


class WireEnd:
    """The `Notices` of one process."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.listeners: dict[str, Callable[[str], None]] = {}
        self.sent: list[tuple[str, str]] = []
        wire.ends.append(self)

    @property
    def reach_others(self) -> bool:
        return self._wire.up

    def publish(self, topic: str, name: str) -> None:
        self.sent.append((topic, name))
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
    """One process of the site, without its HTTP server."""

    store: Unreliable
    stores: Stores
    control: Control
    posts: DevicePosts
    keys: DeviceKeys
    metrics: Metrics
    notices: WireEnd
    clock: Clock
    refused: list[tuple[str, str, str]]
    alarms: Alarms

    async def new_key(self, tenant_id: str, device_id: str) -> str:
        """A new key of the device, which replaces an earlier one."""
        key = f"bas_{secrets.token_urlsafe(32)}"
        await self.stores.device_keys.replace(tenant_id, device_id, digest(key))
        return key

    async def post(
        self, temp_tenths: Any = HOT, ok: Any = True, device_id: str = LAB, **more: Any
    ) -> Command:
        """Post a reading; returns the command of the answer."""
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
        """From now on every write of this process fails."""
        self.store.how, self.store.reads = how, reads

    async def come_back(self) -> None:
        """Let the store work again and wait until the process has stored the commands that it
        gave without a store."""
        await self.store.work()
        watch = self.stores.watch
        if watch.error is None:
            return
        tasks = set(watch._tasks)
        watch.retry_now()
        await asyncio.wait(tasks, timeout=5)
        assert not self.away

    async def record(self, device_id: str = LAB) -> ZoneRecord:
        """The stored record of the zone."""
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
    """Several processes with one database file and one clock."""

    path: Path
    clock: ManualClock
    resources: AsyncExitStack
    wire: Wire = field(default_factory=Wire)
    log: MemoryLog = field(default_factory=lambda: MemoryLog(10_000, 10_000_000))
    processes: list[Process] = field(default_factory=list)
    _begun: Cursor | None = None

    async def start(
        self,
        *,
        how: How = "works",
        mode: str = "optional",
        config: ServerConfig | None = None,
        listener: AlarmListener | None = None,
    ) -> Process:
        """Start another process; `config` has the rules of its alarms."""
        metrics = Metrics()
        client = SqliteClient(self.path, load_indexes(INDEXES), self.clock, metrics)
        unreliable = Unreliable(await self.resources.enter_async_context(client))
        unreliable.how = how
        history = UnreliableHistory(client, unreliable)
        stores = create_stores(unreliable, history, self.clock, 1, metrics)
        self.resources.push_async_callback(stores.watch.stop)
        await stores.watch.check()
        sse = await self.resources.enter_async_context(
            sse_service(
                self.log,
                self.clock,
                metrics,
                queue_max=100,
                heartbeat_s=20,
                limits=StreamLimits(10),
            )
        )
        notices, rules = WireEnd(self.wire), Rules(60_000, GRACE_S)
        parts = config or ServerConfig(), stores, sse, notices, self.clock, metrics, listener
        alarms = create_alarms(*parts)
        own = await self.resources.enter_async_context(
            control(stores, sse, notices, self.clock, metrics, rules, alarms.watch.observe)
        )
        wrong, uses = WrongKeys(self.clock), KeyUses(stores.device_keys, self.clock)
        keys = DeviceKeys(stores.devices, stores.device_keys, mode, stores.watch, wrong, uses)
        post_parts = own.batches, own.relays, keys, stores.audit, metrics, self.clock
        refused: list[tuple[str, str, str]] = []
        posts = DevicePosts(*post_parts, lambda *about: refused.append(about))
        self.resources.push_async_callback(posts.close, 5)
        made = Process(
            unreliable, stores, own, posts, keys, metrics, notices, self.clock, refused, alarms
        )
        self.processes.append(made)
        return made

    async def lose(self, how: How = "gone", *, reads: bool = True) -> None:
        """The store fails for all processes; each learns it from its own check of the store."""
        for process in self.processes:
            process.lose(how, reads=reads)
            await process.stores.watch.check()
            assert process.away

    async def come_back(self) -> None:
        for process in self.processes:
            await process.come_back()

    async def events(self) -> list[tuple[str, dict[str, Any]]]:
        """The names and data of the events on the live stream since the last call."""
        await asyncio.sleep(0.01)  # for the events that are not in the log yet
        tip = await self.log.tip(TENANT)
        since = self._begun or Cursor(tip.epoch, 0)
        self._begun = tip
        entries = await self.log.read_after(TENANT, since, 10_000)
        frames = FrameSplitter().feed(b"".join(entry.frame for entry in entries or []))
        return [(frame.event or "", json.loads(frame.data or "")) for frame in frames]


class Cooler:
    """The cooler of a device: it obeys commands and records those that switch it too early."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.on = False
        self.switched_ms: int | None = None
        self.short: list[str] = []

    def obey(self, command: Command, *, cut: bool = False) -> None:
        """Obey the command; with `cut` it may run for less than the minimum time."""
        if command.cool_active == self.on:
            return
        self.on = command.cool_active
        now, since = self._clock.ms, self.switched_ms
        if since is not None and now - since < MIN_MS and not (cut and not self.on):
            self.short.append(f"{'on' if self.on else 'off'} after {now - since} ms")
        self.switched_ms = now


def hurry(monkeypatch: Any) -> None:
    """Shorten the intervals of one second between retries and notices to 10 ms."""
    from server.control.outage import relay_notices

    monkeypatch.setattr(store_watch, "RETRY_S", 0.01)
    monkeypatch.setattr(relay_notices, "RESEND_INTERVAL_S", 0.01)


def outcome(command: Command) -> tuple[bool, bool, bool]:
    """Whether the cooler is on, whether the heater is on, and whether the reading was stored."""
    return command.cool_active, command.heat_active, command.stored


async def refused(post: Awaitable[object]) -> BasError:
    """The error of the post; AssertionError if it succeeds."""
    try:
        await post
    except BasError as error:
        return error
    raise AssertionError("it was not refused")


def of(events: Iterable[tuple[str, dict[str, Any]]], name: str) -> list[dict[str, Any]]:
    """The data of the events with this name."""
    return [data for event, data in events if event == name]
