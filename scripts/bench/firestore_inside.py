"""Calls to Firestore in one process, each beside the emulator's own share of it: run as a program.

The share: after each call its requests are sent once more, as bytes made beforehand, for documents
of their own, over the same connection (gRPC gives channels of equal target and options one), and
the bytes of the answers are left unread. That is what the emulator and gRPC take whoever asks: no
message is built or read, nothing is grouped, counted or tried again. As the two take turns, both
meet the emulator in the same state. Ten at once are measured the same way, without shares.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import google.cloud.firestore_v1  # noqa: F401 - what it costs is not what opening costs
import grpc  # type: ignore[import-untyped]
import uvloop

from bas_server import INDEXES
from scripts.bench.host import resident_kb
from scripts.bench.stores import TENANT, creation, device, row
from scripts.bench.table import percentile
from server.auth.firestore_client import open_firestore
from server.common.clock import SystemClock
from server.common.metrics import Metrics
from server.services.firestore import init_client
from server.services.firestore.document_history import COLLECTION, DocumentHistory
from server.services.firestore.models import DAY_MS, Session
from server.services.firestore.service_factory import Stores, create_stores
from server.services.ports.documents import Create, Filter, Put, Query
from server.services.ports.indexes import load_indexes
from tools.firestore_emulator import fresh_project

if TYPE_CHECKING:
    from server.services.firestore.google.client import FirestoreClient

STORED, NEWEST, BATCH, TOGETHER = 1000, 100, 10, 10
# Documents that are written are not among the readings: the emulator's queries slow with each.
OWN = "written"
WARM_UP_MAX = 30
# Two names of equal length: one for documents of the measured calls, one for those of the shares.
OURS, SHARE = "ours", "bare"
SERVICE = "/google.firestore.v1.Firestore/"
UNARY = {"commit": "Commit"}
STREAMED = {
    "batch_get_documents": "BatchGetDocuments",
    "run_query": "RunQuery",
    "run_aggregation_query": "RunAggregationQuery",
}

Call = Callable[[int], Awaitable[object]]


@dataclass(frozen=True)
class Operation:
    """A call by its number and its name; its last `parallel` requests are sent at once."""

    name: str
    call: Call
    parallel: int = 1


class Kept:
    """Google's client, with the requests that went through it."""

    def __init__(self, api: Any) -> None:
        self._api = api
        self.requests: list[tuple[str, Any]] = []
        self.transport = api.transport

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._api, name)

        def keep(request: Any, **options: Any) -> Any:
            self.requests.append((name, request))
            return method(request=request, **options)

        return keep


class Share:
    """Sends requests again, as cheaply as it can be done."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Sequence[tuple[str, str]]) -> None:
        self._options = {"metadata": metadata, "timeout": 5.0}
        self._unary = {name: channel.unary_unary(SERVICE + path) for name, path in UNARY.items()}
        self._streamed = {
            name: channel.unary_stream(SERVICE + path) for name, path in STREAMED.items()
        }

    async def take(self, requests: Sequence[tuple[str, Any]], parallel: int) -> float:
        """How many seconds these take, one after the other but for the last."""
        ready = [
            (name, type(one).serialize(one).replace(OURS.encode(), SHARE.encode()))
            for name, one in requests
        ]
        first, last = ready[:-parallel], ready[-parallel:]
        began = time.perf_counter()
        for name, request in first:
            await self._send(name, request)
        if parallel == 1:
            await self._send(*last[0])
        else:
            await asyncio.gather(*(self._send(name, request) for name, request in last))
        return time.perf_counter() - began

    async def _send(self, name: str, request: bytes) -> None:
        if name in self._unary:
            await self._unary[name](request, **self._options)
        else:
            async for _ in self._streamed[name](request, **self._options):
                pass


async def calls(host: str, count: int) -> dict[str, float]:
    """The figures of every operation, in ms."""
    from server.services.firestore.google.connection import _OPTIONS as OPTIONS

    clock = SystemClock()
    client = init_client(host, load_indexes(INDEXES), clock, Metrics(), fresh_project())
    kept = client._rpc._api = Kept(client._rpc._api)
    history = DocumentHistory(client, keep_days=1)
    stores = create_stores(client, history, clock, audit_days=1, metrics=Metrics())
    figures: dict[str, float] = {}
    try:
        async with grpc.aio.insecure_channel(host, options=OPTIONS) as channel:
            share = Share(channel, client._rpc._options["metadata"])
            numbers = range(min(WARM_UP_MAX, count) + count + count)
            now_ms = clock.now_ms()
            readings = [row(number, now_ms) for number in range(STORED)]
            for first in range(0, STORED, 500):
                await stores.telemetry.write([], readings[first : first + 500])
            for operation in [
                *await base_operations(client, numbers, now_ms),
                *await telemetry_queries(stores, now_ms),
                *await user_operations(client, stores, numbers, now_ms),
            ]:
                figures |= await measured(operation, kept, share, count)
    finally:
        await client.close()
    return figures


async def measured(operation: Operation, kept: Kept, share: Share, count: int) -> dict[str, float]:
    """The figures of one operation, by name."""
    own: list[float] = []
    shares: list[float] = []
    gc.collect()
    gc.freeze()
    warm_up = min(WARM_UP_MAX, count)
    for number in range(warm_up + count):
        kept.requests.clear()
        own.append(await timed(operation.call, number))
        shares.append(await share.take(kept.requests, operation.parallel))
    together: list[float] = []
    numbers = iter(range(warm_up + count, warm_up + 2 * count))

    async def some() -> None:
        for number in numbers:
            together.append(await timed(operation.call, number))

    await asyncio.gather(*(some() for _ in range(TOGETHER)))
    figures = {"": own[warm_up:], "share ": shares[warm_up:], "10 at once ": together}
    return {
        f"{operation.name}: {who}p{percent}": percentile(delays, percent) * 1000
        for who, delays in figures.items()
        for percent in (50, 99)
    }


async def timed(call: Call, number: int) -> float:
    """The seconds it takes."""
    began = time.perf_counter()
    await call(number)
    return time.perf_counter() - began


async def base_operations(client: FirestoreClient, numbers: range, now_ms: int) -> list[Operation]:
    """Single documents and batches, in a collection of their own but for reads."""
    fields = creation(0, now_ms).fields

    def create(name: str) -> Create:
        return Create(OWN, name, fields)

    versions: list[str] = []
    for number in numbers:  # in pairs, since what is written together has one version
        pair = [create(f"{who}-put-{number}") for who in (OURS, SHARE)]
        versions.append((await client.write(pair))[0])
    tenant = Query(COLLECTION, (Filter("tenant_id", "==", TENANT),))
    return [
        Operation("get", lambda n: client.get(COLLECTION, f"reading-{n % STORED}")),
        Operation("create", lambda n: client.write([create(f"{OURS}-{n}")])),
        Operation(
            "conditional put",
            lambda n: client.write([Put(OWN, f"{OURS}-put-{n}", fields, versions[n])]),
        ),
        Operation(
            "batch of 10",
            lambda n: client.write([create(f"{OURS}-{n}-{part}") for part in range(BATCH)]),
        ),
        Operation("aggregate count", lambda _: client.aggregate(tenant)),
    ]


async def telemetry_queries(stores: Stores, now_ms: int) -> list[Operation]:
    """What dashboards ask, of one device in ten or of all."""
    telemetry = stores.telemetry
    _, cursor = await telemetry.query_recent_paginated(TENANT, None, NEWEST, None)
    span = now_ms - DAY_MS, now_ms
    return [
        Operation(
            "query_recent, device", lambda n: telemetry.query_recent(TENANT, device(n), NEWEST)
        ),
        Operation("query_recent, tenant", lambda _: telemetry.query_recent(TENANT, None, NEWEST)),
        Operation(
            "query_window", lambda n: telemetry.query_window(TENANT, device(n), *span, NEWEST)
        ),
        Operation(
            "query_recent_paginated",
            lambda _: telemetry.query_recent_paginated(TENANT, None, NEWEST, cursor),
        ),
        # A count, an average, the least and the greatest are asked for at once.
        Operation(
            "statistics",
            lambda n: telemetry.get_device_statistics(TENANT, device(n), *span),
            parallel=4,
        ),
    ]


async def user_operations(
    client: FirestoreClient, stores: Stores, numbers: range, now_ms: int
) -> list[Operation]:
    """Accounts and sessions; no password is hashed."""
    users, sessions = stores.users, stores.sessions

    def session(digest: str) -> Session:
        return Session(
            digest=digest,
            username="someone",
            tenant_id=TENANT,
            user_agent_digest="0" * 64,
            address="192.0.2.1",
            created_at=now_ms,
            expire_at=now_ms + DAY_MS,
        )

    for number in numbers:
        both = [f"{who}-old-{number}" for who in (OURS, SHARE)]
        await client.write([sessions.creation(session(name)) for name in both])
        for name in both:
            await users.create_user(name, "", "operator", TENANT)
    return [
        Operation(
            "create_user", lambda n: users.create_user(f"{OURS}-{n}", "", "operator", TENANT)
        ),
        Operation("get_user_by_username", lambda n: users.get_user_by_username(f"{OURS}-old-{n}")),
        Operation(
            "update_user", lambda n: users.update_user(f"{OURS}-old-{n}", {"last_login": now_ms})
        ),
        Operation("session create", lambda n: sessions.create_session(session(f"{OURS}-{n}"))),
        Operation("session get", lambda n: sessions.get_session(f"{OURS}-old-{n}")),
        Operation(
            "session invalidate", lambda n: sessions.invalidate_sessions([f"{OURS}-old-{n}"])
        ),
    ]


async def init(host: str) -> dict[str, float]:
    """What the first client of a process costs, beyond Google's library."""
    before_kb, began = resident_kb("self"), time.perf_counter()
    client = init_client(host, load_indexes(INDEXES), SystemClock(), Metrics())
    took_s = time.perf_counter() - began
    more_kb = resident_kb("self") - before_kb
    await client.close()
    return {"init_client": took_s * 1000, "init_client, memory": more_kb / 1024}


async def connect(host: str) -> dict[str, float]:
    """From no client to one whose Firestore has answered a read and a commit."""
    began = time.perf_counter()
    client = await open_firestore([], SystemClock(), Metrics(), emulator_host=host)
    await client.ping()
    took_s = time.perf_counter() - began
    await client.close()
    return {"open_firestore and ping": took_s * 1000}


def main() -> None:
    """`init` or `connect` with host:port of an emulator, or `calls` with the number of each too."""
    what, host, *count = sys.argv[1:]
    measures: dict[str, Any] = {"init": init, "connect": connect, "calls": calls}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.stdout.write(json.dumps(runner.run(measures[what](host, *map(int, count)))))


if __name__ == "__main__":
    main()
