"""A server at full load whose Firestore is killed, hangs, or loses answers: every acknowledged
reading is stored once, other posts are answered in time as not stored, and the server recovers."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.services.ports.documents import PAGE_MAX, Document, Query
from tests.support.cutting_proxy import CuttingProxy
from tests.support.firestore import opened
from tests.support.stream import caller, eventually, figures, log_in
from tests.support.switches import MIN_TIME_MS
from tools.firestore_emulator import SWITCHES, FirestoreEmulator, fresh_project
from tools.process import ServerProcess

pytestmark = pytest.mark.alone

POSTERS = 8
# A device gives up after 5 s.
ANSWERED_S = 3.0
RECOVERY_S = 8.0
REPORTED_S = 15.0
UNAVAILABLE = (503, "STORE_UNAVAILABLE")
# (stored, status, code) of an answer. A reading that is not stored is answered from the cache; with
# an idempotency key it is refused instead, so that the device posts it again.
ANSWERS = {(True, 200, None), (False, 200, None)}
ANSWERS_TO_KEYS = {(True, 200, None), (False, *UNAVAILABLE)}
UNSTORED_PAUSE_S = 0.02


@dataclass(frozen=True)
class Post:
    """A request and its answer; times are monotonic seconds."""

    number: int
    began: float
    ended: float
    status: int
    code: str | None
    stored: bool
    cool: bool


@dataclass
class Load:
    """Devices that post without a pause; each reading has a unique number. With `again` they repeat
    a reading with its key until it is stored, as a device with a queue does."""

    url: str
    again: bool = False
    posts: list[Post] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def acknowledged(self) -> list[int]:
        return [post.number for post in self.posts if post.stored]

    async def more(self, posters_each: int = 20) -> float:
        """Wait until each device has this many more acknowledged readings; returns the seconds."""
        began = time.monotonic()

        def check() -> bool:
            found = Counter(p.number % POSTERS for p in self.posts if p.stored and p.began >= began)
            return len(found) == POSTERS and min(found.values()) >= posters_each

        return await eventually(check, f"{posters_each} readings of each device", REPORTED_S)

    async def none_is_stored(self, from_s: float = 0.0) -> None:
        """Wait until each device has an unstored post that began `from_s` from now or later."""
        since = time.monotonic() + from_s

        def check() -> bool:
            unstored = {p.number % POSTERS for p in self.posts if not p.stored and p.began > since}
            return len(unstored) == POSTERS

        await eventually(check, "every device gets answers that say unstored", REPORTED_S)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Post while the block runs; at the end wait for the last answers."""
        async with asyncio.TaskGroup() as group:
            for poster in range(POSTERS):
                group.create_task(self._device(poster))
            try:
                yield
            finally:
                self.over.set()

    async def _device(self, poster: int) -> None:
        chance = random.Random(poster)
        async with caller(self.url) as client:
            for number in itertools.count(poster, POSTERS):
                body = {
                    "device_id": f"zone-{poster}",
                    "temp_tenths": chance.choice([200, 300]),
                    "sensor_ok": True,
                    "timestamp": number,
                }
                await self._post(client, body)
                if self.over.is_set():
                    return

    async def _post(self, client: httpx.AsyncClient, body: dict[str, Any]) -> None:
        number = body["timestamp"]
        headers = {"Idempotency-Key": f"reading-{number}"} if self.again else {}
        while True:
            began = time.monotonic()
            answer = await client.post("/api/sensor_data", json=body, headers=headers)
            ended, content = time.monotonic(), answer.json()
            stored = answer.status_code == 200 and content.get("stored", True)
            post = Post(
                number,
                began,
                ended,
                answer.status_code,
                content.get("code"),
                stored,
                content["cool_active"],
            )
            self.posts.append(post)
            if stored:
                return
            await asyncio.sleep(UNSTORED_PAUSE_S)
            if not self.again:
                return


def settings(host: str, project: str) -> dict[str, str]:
    """The environment of a server that stores everything in Firestore."""
    used = {"USE_EMULATORS": "1", "FIRESTORE_EMULATOR_HOST": host, "GOOGLE_CLOUD_PROJECT": project}
    return used | {f"USE_FIRESTORE_{switch.upper()}": "1" for switch in SWITCHES}


async def kept(host: str, project: str) -> list[Document]:
    """Every reading in Firestore."""
    found: list[Document] = []
    async with opened(host, project) as google:
        cursor = None
        while True:
            page = await google.query(Query("telemetry"), PAGE_MAX, cursor)
            found += page.documents
            cursor = page.next_cursor
            if cursor is None:
                return found


def numbers(documents: list[Document]) -> Counter[int]:
    """How often each reading is stored, by its number."""
    return Counter(document.fields["device_ticks_ms"] for document in documents)


async def failures(client: httpx.AsyncClient) -> float:
    """The number of failed calls to the store in /metrics."""
    found = await figures(client)
    return sum(n for name, n in found.items() if name.startswith("bas_store_failures_total"))


async def readiness(client: httpx.AsyncClient) -> tuple[int, str]:
    answer = await client.get("/readyz")
    return answer.status_code, answer.json()["checks"]["store"]


async def is_ready(client: httpx.AsyncClient) -> bool:
    return await readiness(client) == (200, "ok")


def all_in_time(posts: list[Post], answers: set[tuple[bool, int, str | None]]) -> None:
    """Check that every answer is one of these and that it came in time."""
    assert {(post.stored, post.status, post.code) for post in posts} <= answers
    assert max(post.ended - post.began for post in posts) < ANSWERED_S


async def test_killing_firestore_under_load_loses_only_the_readings_that_it_held(
    tmp_path: Path, emulator: FirestoreEmulator
) -> None:
    project = fresh_project()
    with ServerProcess(tmp_path, **settings(emulator.host, project)) as server:
        assert server.password is not None
        session = await log_in(server.url, "admin", server.password)
        load = Load(server.url)
        async with caller(server.url, session) as client, load.running():
            await load.more()
            assert await failures(client) == 0

            emulator.kill()
            killed = time.monotonic()
            requests = [
                client.post("/auth/login", json={"username": "admin", "password": "a password"}),
                client.post("/api/set_setpoint", json={"setpoint_tenths": 250}),
                client.get("/api/telemetry"),
                client.get("/auth/status"),
            ]
            for answer in await asyncio.gather(*requests):
                assert (answer.status_code, answer.json()["code"]) == UNAVAILABLE, answer.url
            assert time.monotonic() - killed < ANSWERED_S
            assert (await readiness(client))[0] == 503
            assert (await client.get("/healthz")).status_code == 200
            await load.none_is_stored(from_s=ANSWERED_S)
            starting = time.monotonic()
            await asyncio.to_thread(emulator.start)
            answers = time.monotonic()
            await eventually(lambda: is_ready(client), "it is ready", RECOVERY_S)
            await load.more(1)
            assert time.monotonic() - answers < RECOVERY_S
            await load.more()
            # The new emulator is empty and has no session: the answer is 401 and no longer 503.
            assert (await client.get("/api/telemetry")).status_code == 401
        async with caller(server.url) as client:
            counts = await figures(client)
        assert counts["bas_readings_stored_total"] == len(load.acknowledged)
        unstored = [post for post in load.posts if not post.stored]
        assert counts["bas_readings_unstored_total"] == len(unstored)
        found = numbers(await kept(emulator.host, project))
    all_in_time(load.posts, ANSWERS)
    outage = [post for post in load.posts if post.began > killed and post.ended < starting]
    assert len(outage) > POSTERS
    assert not any(post.stored for post in outage)
    for poster in range(POSTERS):
        own = [p for p in load.posts if p.number % POSTERS == poster and p.ended < starting]
        posts = [post for post in own if post.began <= killed][-1:] + [
            p for p in own if p in outage
        ]
        assert not any(b.cool and not a.cool for a, b in itertools.pairwise(posts)), "switched on"
    after = {post.number for post in load.posts if post.began > killed and post.stored}
    assert set(found) >= after
    assert set(found) <= {post.number for post in load.posts if post.ended > starting}
    assert set(found.values()) == {1}
    assert "Traceback" not in server.output


async def test_a_reading_repeated_until_acknowledged_is_stored_once_despite_lost_answers(
    tmp_path: Path, emulator: FirestoreEmulator
) -> None:
    project = fresh_project()
    async with CuttingProxy(emulator.port).running() as proxy:
        host = f"127.0.0.1:{proxy.port}"
        server = ServerProcess(tmp_path, **settings(host, project))
        await asyncio.to_thread(server.start)
        try:
            load = Load(server.url, again=True)
            async with load.running(), caller(server.url) as client:
                for lost in (1, 5, 20):
                    await load.more()
                    proxy.lose = lost
                    await eventually(lambda: not proxy.lose, "the answers are lost", REPORTED_S)
                # Readings are stored, but every answer is lost for longer than a call may take.
                await load.more()
                proxy.after, proxy.lose = b"received_ms", 1_000_000
                await load.none_is_stored()
                proxy.lose = 0
                await eventually(lambda: is_ready(client), "it is ready", RECOVERY_S)
                for away in (False, True):
                    await load.more()
                    emulator.pause()
                    if away:
                        await load.none_is_stored()
                        assert (await readiness(client))[0] == 503
                    else:
                        with pytest.raises(TimeoutError):
                            await asyncio.wait_for(load.more(), 0.5)
                    emulator.resume()
                    await eventually(lambda: is_ready(client), "it is ready", RECOVERY_S)
                await load.more()
            async with caller(server.url) as client:
                counts = await figures(client)
        finally:
            await asyncio.to_thread(server.kill)
        documents = await kept(emulator.host, project)
    assert counts["bas_readings_repeated_total"] > 0
    all_in_time(load.posts, ANSWERS_TO_KEYS)
    # Each device posted its next reading only when the last one was acknowledged.
    assert numbers(documents) == dict.fromkeys(sorted(load.acknowledged), 1)
    for poster in range(POSTERS):
        own = [post for post in load.posts if post.number % POSTERS == poster]
        switched = [b for a, b in itertools.pairwise(own) if a.cool is not b.cool]
        assert switched
        # The commands keep the minimum times, whether or not the readings were stored.
        for one, next_one in itertools.pairwise(switched):
            assert 1000 * (next_one.ended - one.began) >= MIN_TIME_MS
    assert "Traceback" not in server.output
