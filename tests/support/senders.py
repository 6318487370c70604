"""Devices, each with a clock and a queue, and a server that is checked after each post.

`ManualClock.ms` is the true time; the server's wall clock is that and `step_ms`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from server.control.batch import rounds
from server.control.rules.decision import PostedRow, Rules, plan
from server.control.rules.posted_body import Posted, reading_of
from server.control.rules.present import oldest_first
from server.control.rules.setpoint_rules import Setpoints
from server.control.rules.zone_record import moment_of
from server.services.firestore.models import ZoneRecord
from server.services.ports.readings import Reading
from tests.support.clock import ManualClock
from tests.support.http import Caller

HOT, COLD = 300, 200  # the largest change that a zone may show between two readings
PATH = "/api/sensor_data"


class Measured(NamedTuple):
    """A reading: the true time of its measurement, and the body that is posted."""

    true_ms: int
    body: dict[str, Any]


class Seen(NamedTuple):
    """The command of a post, and the zone's status after it."""

    cool: bool
    temp_tenths: int | None
    timestamp: int
    received: int
    trust: tuple[str, str | None]


class Server(Protocol):
    """The server that a device posts to."""

    clock: ManualClock

    async def post(self, device_id: str, bodies: Sequence[dict[str, Any]]) -> Seen: ...


class PureServer:
    """Only the control rules, with one zone; `readings` are the readings that would be stored."""

    def __init__(self, clock: ManualClock, zone: ZoneRecord | None = None, present_s: int = 60):
        self.clock = clock
        self.zone = zone or ZoneRecord(tenant_id="default", device_id="lab")
        self.rules = Rules(present_s * 1000, 300)
        self.readings: list[Reading] = []

    async def post(self, device_id: str, bodies: Sequence[dict[str, Any]]) -> Seen:
        """Decide on the bodies in the way the server does."""
        rows = [PostedRow(index, reading_of(Posted(**body))) for index, body in enumerate(bodies)]
        now_ms = self.clock.now_ms()
        for (share,) in rounds({device_id: oldest_first(rows, now_ms)}, now_ms):
            done = plan(share, self.zone, Setpoints(), {}, moment_of(self.clock), self.rules)
            self.zone = done.zone or self.zone
            self.readings += done.announced
        zone = self.zone
        trust = (zone.trust_state, zone.trust_reason or None)
        return Seen(zone.cool, zone.temp_tenths, zone.timestamp_ms, zone.received_ms, trust)


@dataclass
class HttpServer:
    """The whole server, over HTTP."""

    caller: Caller
    clock: ManualClock

    async def post(self, device_id: str, bodies: Sequence[dict[str, Any]]) -> Seen:
        """Send one reading as a single post, several as a batch."""
        named = [body | {"device_id": device_id} for body in bodies]
        answer = await self.caller.post(
            PATH if len(named) == 1 else f"{PATH}/batch", named[0] if len(named) == 1 else named
        )
        assert answer.status == 200, answer.body
        command = answer.json() if len(named) == 1 else answer.json()["commands"][0]
        status = (await self.caller.get(f"/api/status?device_id={device_id}")).json()
        assert status["cool_active"] == command["cool_active"]
        received = status["received"]
        age_ms = max(0, self.clock.now_ms() - received) if received else None
        assert status["age_ms"] == age_ms
        return Seen(
            command["cool_active"],
            status["temp_tenths"],
            status["timestamp"],
            received,
            (status["trust"]["state"], status["trust"]["reason"]),
        )


class Device:
    """Measures every `every_s` seconds. `next_ms` is the true time of the reading that it posts
    next: its queue holds the readings between that time and now. Its clock is `ahead_s` ahead of
    the true time; with None it has no clock and sends ticks."""

    def __init__(self, server: Server, every_s: float = 2, ahead_s: float | None = 0, temp=COLD):
        self.server = server
        self.clock = server.clock
        self.every_ms = round(every_s * 1000)
        self.next_ms = self.clock.ms
        self._since = [self.clock.ms]
        self._state: list[tuple[float | None, int]] = [(ahead_s, temp)]

    def becomes(self, *, ahead_s: float | None = 0, temp: int | None = None) -> None:
        """From now on its clock has this error and it measures this temperature."""
        temp = self._state[-1][1] if temp is None else temp
        self._since.append(self.clock.ms + 1)
        self._state.append((ahead_s, temp))

    def starts_again_at(self, date_ms: int) -> None:
        """Set its clock to this date."""
        self.becomes(ahead_s=(date_ms - self.clock.ms) / 1000)

    def measures(self, temp: int) -> None:
        """From now on it measures this temperature."""
        self.becomes(ahead_s=self._state[-1][0], temp=temp)

    def row(self, true_ms: int | None = None, **more: Any) -> Measured:
        """The reading that it measured at this time, by default now."""
        true_ms = self.clock.ms if true_ms is None else true_ms
        ahead_s, temp = self._state[max(0, bisect_right(self._since, true_ms) - 1)]
        date = true_ms % 2**30 if ahead_s is None else true_ms + round(ahead_s * 1000)
        return Measured(true_ms, {"temp_tenths": temp, "sensor_ok": True, "timestamp": date} | more)

    def take(self, count: int = 1) -> list[Measured]:
        """Remove the oldest readings from its queue and return them."""
        rows = []
        while len(rows) < count and self.next_ms <= self.clock.ms:
            rows.append(self.row(self.next_ms))
            self.next_ms += self.every_ms
        return rows

    def forget(self) -> None:
        """Empty its queue: its next measurement is one interval from now."""
        self.next_ms = self.clock.ms + self.every_ms


class Watched:
    """A server whose rules are checked after each post of a device.

    A reading that is truly older than `limit_s` must not count as present, and so must not start
    the cooler; and the shown reading is never older than the one shown before.
    """

    def __init__(self, server: Server, limit_s: float = 60, device_id: str = "lab") -> None:
        self.server, self.clock = server, server.clock
        self.limit_s, self.device_id = limit_s, device_id
        self.posts = 0
        self.last: Seen | None = None
        self._shown_ms = 0

    async def send(self, *rows: Measured) -> Seen:
        """Send the rows in one post. The clock advances a millisecond before that, so that no two
        posts arrive in the same millisecond."""
        self.clock.advance(0.001)
        before, now_ms = self.last, self.clock.now_ms()
        newest = max(rows, key=lambda row: row.true_ms)
        age_s = (self.clock.ms - newest.true_ms) / 1000
        seen = await self.server.post(self.device_id, [row.body for row in rows])
        self.posts, self.last = self.posts + 1, seen
        if seen.received == now_ms:
            assert age_s <= self.limit_s, f"{age_s} s old, and the present"
            assert newest.true_ms >= self._shown_ms, "an older reading after a newer one"
            assert seen.temp_tenths == newest.body["temp_tenths"]
            self._shown_ms = newest.true_ms
        else:
            shown = (before.temp_tenths, before.timestamp, before.received) if before else (0, 0, 0)
            assert (seen.temp_tenths, seen.timestamp, seen.received) == shown
            assert not (seen.cool and not (before and before.cool)), "started by no present"
        return seen

    def is_present(self) -> bool:
        """Whether the server took the last post as present."""
        return self.last is not None and self.last.received == self.clock.now_ms()

    async def live(self, device: Device, posts: int) -> int:
        """Post `posts` current readings; returns how many the server took as present."""
        present = 0
        for _ in range(posts):
            self.clock.advance(device.every_ms / 1000 - 0.001)
            await self.send(device.row())
            present += self.is_present()
        device.forget()
        return present

    async def until_present(self, device: Device, most: int = 100) -> int:
        """Post current readings until the server takes one as present; returns how many."""
        for posts in range(1, most + 1):
            if await self.live(device, 1):
                return posts
        raise AssertionError(f"shut out after {most} posts")

    async def drain(
        self, device: Device, speed: float, rows: int = 1, most: int | None = None
    ) -> int:
        """Post its queue, oldest first, `rows` readings a post, `speed` times as fast as it was
        measured, while it continues to measure; until it is empty, or for `most` posts."""
        posts = 0
        while (most is None or posts < most) and (taken := device.take(rows)):
            await self.send(*taken)
            posts += 1
            self.clock.advance(max(rows * device.every_ms / 1000 / speed - 0.001, 0))
        return posts
