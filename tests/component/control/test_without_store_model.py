"""Posts, losses, returns, restarts and older copies in any order: no relay is switched on unstored,
a cooler keeps its minimum times, and each reading that was called stored is stored."""

from __future__ import annotations

import dataclasses
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from server.services.firestore.base import document_id
from server.services.firestore.models import fields_of
from server.services.firestore.zones_store import ZONES
from server.services.ports.documents import Put
from tests.support.clock import ManualClock
from tests.support.forms import amount
from tests.support.stream import eventually
from tests.support.unreliable import COLD, GRACE_S, HOT, LAB, MIN_MS, TENANT, Site, hurry

posts = st.builds(
    lambda temp, ok, process: ("post", temp, ok, process),
    st.sampled_from([HOT, HOT, COLD]),
    st.sampled_from([True] * 7 + [False]),
    st.integers(0, 1),
)
waits = st.builds(
    lambda seconds: ("wait", seconds), st.sampled_from([0.5, 2.0, 2.0, 9.5, 10.0, 20.0, 301.0])
)
losses = st.builds(
    lambda how, reads: ("lose", how, reads),
    st.sampled_from(["gone", "unanswered", "late"]),
    st.booleans(),
)
rest = st.sampled_from(
    [("lose one",), ("back",), ("back",), ("copy",), ("older",), ("restart",), ("cut off",)]
)
histories = st.lists(st.one_of(posts, posts, posts, waits, waits, losses, rest), max_size=60)


@dataclasses.dataclass
class Device:
    """A cooler and its heat relay, which obey every command; while `excused`, the cooler may stop
    before its time."""

    clock: ManualClock
    cool: bool = False
    heat: bool = False
    switched_ms: int = -MIN_MS
    excused: bool = False

    def obey(self, command, fault):
        now = self.clock.ms
        if not command.stored:
            assert self.cool or not command.cool_active, "the cooler was started unstored"
            assert self.heat or not command.heat_active, "the heat was switched on unstored"
        if command.cool_active != self.cool:
            served_ms = now - self.switched_ms
            if command.cool_active or not (fault or self.excused):
                assert served_ms >= MIN_MS, f"switched after {served_ms} ms"
            self.cool, self.switched_ms, self.excused = command.cool_active, now, False
        self.heat = command.heat_active


class Run:
    """One history on two processes."""

    def __init__(self, site, processes):
        self.site, self.processes = site, processes
        self.clock = site.clock
        self.device = Device(self.clock)
        self.number = 0
        self.copy = None
        self.lost_s = None
        # Whether no process knows the device's last answer.
        self.forgotten = False
        # Numbers of readings that were called stored, and of those that may be stored nevertheless.
        self.stored, self.unsure = set(), set()

    async def post(self, temp, ok, process):
        chosen = self.processes[process]
        how = chosen.store.how
        self.number += 1
        if self.lost_s is not None and self.clock.monotonic() - self.lost_s >= GRACE_S:
            self.device.excused = True
        if how != "works" and not chosen.keys._last:
            # This process does not know the device. If its write took effect without an answer, the
            # record is wrong until the next post.
            self.device.excused = self.forgotten = True
        # The device sends the number as its time, and it is stored with the reading.
        command = await chosen.post(temp, ok, timestamp=self.number)
        self.device.obey(command, fault=not ok)
        if command.stored:
            self.forgotten = False
            self.stored.add(self.number)
        elif how in {"unanswered", "late"}:
            self.unsure.add(self.number)

    async def lose(self, how, reads):
        if self.lost_s is None:
            self.lost_s = self.clock.monotonic()
        for process in self.processes:
            process.lose(how, reads=reads)
        # This process finds it out at its next post.
        await self.processes[0].stores.watch.check()

    async def lose_one(self):
        """The other process still has the store."""
        if self.lost_s is None:
            self.lost_s = self.clock.monotonic()
            self.processes[0].lose("gone")
            await self.processes[0].stores.watch.check()

    async def back(self):
        self.lost_s = None
        self.site.wire.up = True
        await self.site.come_back()
        for process in self.processes:
            await eventually(lambda process=process: not process.cache.unstored(), "all is stored")
        if self.number and not self.forgotten:
            record = await self.record()
            assert record is None or self.device.cool or not record.cool, "it rests, recorded as on"

    async def record(self):
        found = await self.processes[0].stores.zones.get(TENANT, LAB)
        return found.zone if found.version else None

    async def keep_copy(self):
        if self.lost_s is None:
            self.copy = await self.record()

    async def older(self):
        """An older copy replaces the record, while no process writes."""
        if self.copy is None or self.lost_s is None:
            return
        client = self.processes[0].store._client
        await client.write([Put(ZONES, document_id(TENANT, LAB), fields_of(self.copy))])
        self.device.excused = True

    async def restart(self):
        """A process that starts without the store knows nothing."""
        if self.lost_s is None:
            return
        self.device.excused = self.forgotten = True
        ends = self.site.wire.ends
        old = self.processes[1]
        ends.remove(old.notices)
        old.lose("gone", reads=False)
        await old.stores.watch.stop()
        self.site.processes.remove(old)
        self.processes[1] = await self.site.start(how="gone")

    async def cut_off(self):
        if self.lost_s is not None:
            self.site.wire.up = False
            self.device.excused = True
            for process in self.processes:
                process.lose("gone", reads=False)
                await process.stores.watch.check()
                assert process.control.batches._without_store._is_over()

    async def step(self, action):
        name, *about = action
        self.clock.advance(0.001)
        if name == "wait":
            self.clock.advance(about[0])
        else:
            names = {"copy": "keep_copy", "lose one": "lose_one", "cut off": "cut_off"}
            await getattr(self, names.get(name, name))(*about)


async def play(history):
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as resources:
            site = Site(Path(folder) / "bas.db", ManualClock(), resources)
            run = Run(site, [await site.start(), await site.start()])
            for action in history:
                await run.step(action)
            await run.back()
            kept = {one.device_ticks_ms for one in await run.processes[0].stored()}
            assert kept >= run.stored
            assert kept <= run.stored | run.unsure
            await run.post(HOT, True, 1)
            record = await run.record()
            assert (record.cool, record.heat) == (run.device.cool, run.device.heat)


@settings(
    max_examples=amount(60, 3000),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(histories)
@example([("post", HOT, True, 0), ("lose", "late", True), ("post", HOT, True, 0), ("back",)])
async def test_no_order_of_events_breaks_the_guarantees_for_a_device(monkeypatch, history):
    with monkeypatch.context() as patched:
        hurry(patched)
        await play(history)
