"""SiteClock: the time of a shared service, followed by the monotonic clock between measurements."""

from __future__ import annotations

import asyncio
import logging

import pytest

from server.common.clock import booted_ms, leap_ms
from server.common.errors import Unavailable
from server.common.metrics import Metrics
from server.services.site import site_clock as module
from server.services.site.site_clock import SiteClock, site_clock
from tests.support.clock import ManualClock
from tests.support.stream import eventually


class Service:
    """A service with its own time; each call takes the next of `delays_s`, half of it each way."""

    def __init__(self, clock: ManualClock, ahead_ms: float = 0) -> None:
        self.clock = clock
        self.ahead_ms = ahead_ms
        self.delays_s: list[float] = []
        self.away = False
        self.calls = 0

    async def time_ms(self) -> float:
        self.calls += 1
        if self.away:
            raise Unavailable
        way_s = (self.delays_s.pop(0) if self.delays_s else 0.0) / 2
        self.clock.advance(way_s)
        answer = self.clock.steady_ms() + self.ahead_ms
        self.clock.advance(way_s)
        return answer


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(compared=True)


@pytest.fixture
def service(clock: ManualClock) -> Service:
    return Service(clock, ahead_ms=300_000)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def site(clock: ManualClock, service: Service, metrics: Metrics) -> SiteClock:
    return SiteClock(clock, service.time_ms, metrics, "Redis")


def skew(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("bas_clock_skew_seconds")


async def test_the_time_is_that_of_the_service_once_it_is_measured(
    site: SiteClock, clock: ManualClock
) -> None:
    assert site.now_ms() == clock.now_ms()
    assert await site.measure()
    assert site.now_ms() == clock.now_ms() + 300_000
    assert site.skew_ms == -300_000


async def test_half_of_the_round_trip_is_taken_off(
    site: SiteClock, service: Service, clock: ManualClock
) -> None:
    service.delays_s = [0.4] * 5
    await site.measure()
    assert site.now_ms() == clock.now_ms() + 300_000


async def test_two_calls_of_five_that_were_held_up_change_nothing(
    clock: ManualClock, metrics: Metrics
) -> None:
    answers = iter([0.0, 9000.0, 0.0, -7000.0, 0.0])

    async def time_ms() -> float:
        return clock.steady_ms() + next(answers)

    site = SiteClock(clock, time_ms, metrics, "Redis")
    await site.measure()
    assert site.now_ms() == clock.now_ms()


@pytest.mark.parametrize("leap_ms", [-86_400_000, -1000, 1000, 86_400_000])
async def test_a_leap_of_the_machine_s_clock_changes_nothing_before_or_after_the_next_measurement(
    site: SiteClock, clock: ManualClock, leap_ms: int
) -> None:
    await site.measure()
    before = site.now_ms()
    clock.step_ms += leap_ms
    clock.advance(10)
    assert site.now_ms() == before + 10_000
    await site.measure()
    assert site.now_ms() == before + 10_000


async def test_while_the_service_is_away_the_monotonic_clock_goes_on(
    site: SiteClock, service: Service, clock: ManualClock
) -> None:
    await site.measure()
    service.away = True
    clock.advance(3600)
    assert not await site.measure()
    assert site.now_ms() == clock.now_ms() + 300_000


async def test_two_machines_whose_clocks_differ_have_one_time(metrics: Metrics) -> None:
    machines = [
        ManualClock(1_790_000_000_000 + ms, boot=f"{ms}", compared=True)
        for ms in (0, 5000, -300_000)
    ]

    async def time_ms() -> float:
        return machines[0].ms

    sites = [SiteClock(one, time_ms, metrics, "Redis") for one in machines]
    for site in sites:
        await site.measure()
    assert {site.now_ms() for site in sites} == {machines[0].ms}


async def test_what_was_dated_by_the_machine_s_clock_is_read_by_the_site_s_time(
    site: SiteClock, clock: ManualClock
) -> None:
    dated, boot, booted = clock.now_ms(), clock.boot, booted_ms(clock)
    await site.measure()
    assert dated + leap_ms(site, boot, booted) == site.now_ms()
    assert leap_ms(site, "another machine", booted) == 0


async def test_the_skew_is_exported_and_named_once_while_it_lasts(
    site: SiteClock,
    service: Service,
    metrics: Metrics,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    for ahead_ms, lines in ((499, 0), (-800, 1), (-900, 1), (100, 2), (3000, 3)):
        service.ahead_ms = ahead_ms
        await site.measure()
        assert skew(metrics) == -ahead_ms / 1000
        assert len(caplog.messages) == lines
    assert "clock is 0.8 s ahead of the time of Redis: let NTP set" in caplog.messages[0]
    assert "agrees with the time of Redis again" in caplog.messages[1]
    assert "clock is 3.0 s behind" in caplog.messages[2]


async def test_it_is_measured_at_the_start_and_again_and_the_task_ends_with_the_block(
    clock: ManualClock, service: Service, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EVERY_S", (0.0, 0.0))
    async with site_clock(clock, service.time_ms, metrics, "Firestore") as site:
        assert site.now_ms() == clock.now_ms() + 300_000
        service.ahead_ms = 1000
        await eventually(lambda: site.now_ms() == clock.now_ms() + 1000, "it is measured again")
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_a_service_that_is_away_at_the_start_is_asked_again_until_it_answers(
    clock: ManualClock, service: Service, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.0)
    service.away = True
    async with site_clock(clock, service.time_ms, metrics, "Firestore") as site:
        assert site.now_ms() == clock.now_ms()
        service.away = False
        await eventually(lambda: site.now_ms() != clock.now_ms(), "it is measured")
        asked = service.calls
        for _ in range(100):
            await asyncio.sleep(0)
        assert service.calls == asked


async def test_a_service_that_hangs_at_the_start_holds_it_up_for_a_moment_only(
    clock: ManualClock, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_S", 0.01)
    never = asyncio.Event()

    async def time_ms() -> float:
        await never.wait()
        return 0.0

    async with asyncio.timeout(60), site_clock(clock, time_ms, metrics, "Firestore") as site:
        assert site.now_ms() == clock.now_ms()
