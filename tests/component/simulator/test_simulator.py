"""Simulated zones: their physics, and their posts against a real server on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import socket
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.simulator.fleet import (
    Controller,
    PostFailed,
    ReceivedCommand,
    Simulator,
    Target,
    parse_answer,
)
from server.simulator.room import SensorReading, ThermalParams, ThermalZone

BOUND_S = 60.0  # the longest time that a test waits


def answer(cooling: bool, *, status: str = "200 OK", name: str = "Content-Length") -> bytes:
    command = {"cool_active": cooling, "heat_active": True, "setpoint_tenths": 230}
    body = json.dumps(command | {"deadband_tenths": 10}).encode()
    return f"HTTP/1.1 {status}\r\n{name}: {len(body)}\r\n\r\n".encode() + body


class Building:
    """A server that keeps every request's bytes and sends the given answers in turn; the last one
    serves all later requests. None lets the caller wait, so that a test that has seen the request
    finds the zone at rest."""

    def __init__(self, *answers: bytes | None, closes: bool = True) -> None:
        self._answers = list(answers)
        self._closes = closes
        self._requests: asyncio.Queue[bytes] = asyncio.Queue()
        self.released = asyncio.Event()
        self.url = ""

    async def next_request(self) -> bytes:
        return await asyncio.wait_for(self._requests.get(), BOUND_S)

    async def next_requests(self, count: int) -> list[dict[str, Any]]:
        requests = [await self.next_request() for _ in range(count)]
        return [json.loads(request.partition(b"\r\n\r\n")[2]) for request in requests]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"Content-Length: (\d+)", head)
            assert length is not None
            body = await reader.readexactly(int(length[1]))
            reply = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
            self._requests.put_nowait(head + body)
            writer.write(reply or b"")
            await writer.drain()
            if reply is None or not self._closes:
                await self.released.wait()
        finally:
            writer.close()


@asynccontextmanager
async def listening(building: Building) -> AsyncIterator[Building]:
    server = await asyncio.start_server(building.serve, "127.0.0.1", 0)
    building.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield building
        building.released.set()


@asynccontextmanager
async def running(simulator: Simulator) -> AsyncIterator[Simulator]:
    stop = asyncio.Event()
    task = asyncio.create_task(simulator.run(stop))
    try:
        yield simulator
    finally:
        stop.set()
        await asyncio.wait_for(task, BOUND_S)


class LogLines(logging.Handler):
    """The simulator's log lines; a test can wait for the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: asyncio.Queue[str] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.put_nowait(record.getMessage())

    async def next(self) -> str:
        return await asyncio.wait_for(self.lines.get(), BOUND_S)


@pytest.fixture
async def logged() -> AsyncIterator[LogLines]:
    handler = LogLines()
    log = logging.getLogger("server.simulator.fleet")
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    yield handler
    log.removeHandler(handler)
    log.setLevel(level)


async def test_a_post_has_exactly_the_bytes_that_a_controller_sends() -> None:
    async with (
        listening(Building(answer(False))) as building,
        running(Simulator(building.url, zones=1)),
    ):
        request = await building.next_request()
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.decode().split("\r\n") == [
        "POST /api/sensor_data HTTP/1.1",
        f"Host: {building.url.removeprefix('http://')}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    reading = json.loads(body)
    assert list(reading) == ["temp_tenths", "sensor_ok", "timestamp", "device_id"]
    assert type(reading["temp_tenths"]) is int
    assert type(reading["sensor_ok"]) is bool
    assert 0 <= reading["timestamp"] < 2**30
    assert reading["device_id"] == "sim-01"


async def test_every_zone_posts_with_its_own_device_id() -> None:
    async with (
        listening(Building(answer(False))) as building,
        running(Simulator(building.url, zones=12, interval_s=0.1)),
    ):
        # A slow machine may let a zone post twice before another one's first post.
        names: set[str] = set()
        for _ in range(500):
            (reading,) = await building.next_requests(1)
            names.add(reading["device_id"])
            if len(names) == 12:
                break
    assert names == {f"sim-{n:02}" for n in range(1, 13)}


async def test_a_path_in_the_url_is_put_before_the_route() -> None:
    async with (
        listening(Building(answer(False))) as building,
        running(Simulator(building.url + "/bas/", zones=1)),
    ):
        request = await building.next_request()
    assert request.startswith(b"POST /bas/api/sensor_data HTTP/1.1\r\n")


@pytest.mark.parametrize("cooling", [True, False])
async def test_a_zone_obeys_the_answer(cooling: bool) -> None:
    async with (
        listening(Building(answer(not cooling), answer(cooling), None)) as building,
        running(Simulator(building.url, zones=1, interval_s=0.01)) as simulator,
    ):
        await building.next_requests(3)
        assert simulator.stats.zones_cooling == cooling
        assert simulator.stats.posts_ok == 2
        assert simulator.stats.posts_failed == 0
    assert 0 < simulator.stats.p50_ms <= simulator.stats.p99_ms < BOUND_S * 1000


@pytest.mark.parametrize(
    "invalid",
    [
        pytest.param(answer(False, status="200 "), id="no reason phrase"),
        pytest.param(answer(False, status="503 Service Unavailable"), id="error status"),
        pytest.param(b"\x00\xff nonsense", id="garbage"),
        pytest.param(b"", id="nothing"),
        pytest.param(answer(False)[:25], id="half a head"),
        pytest.param(answer(False)[:-9], id="half a body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", id="no command"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n[1]", id="not an object"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 50_000, id="deeply nested"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 100_000, id="endless"),
        pytest.param(
            b'HTTP/1.1 200 OK\r\n\r\n{"cool_active":0,"heat_active":0}', id="numbers for relays"
        ),
    ],
)
async def test_a_zone_keeps_its_command_after_an_invalid_answer(invalid: bytes) -> None:
    async with (
        listening(Building(answer(True), invalid, invalid, None)) as building,
        running(Simulator(building.url, zones=1, interval_s=0.01)) as simulator,
    ):
        await building.next_requests(4)
        assert simulator.stats.zones_cooling == 1
        assert simulator.stats.posts_failed == 2


@pytest.mark.parametrize("name", ["content-length", "CONTENT-LENGTH", "Content-length"])
async def test_an_answer_ends_at_its_content_length_in_any_case(name: str) -> None:
    async with (
        listening(Building(answer(True, name=name), None, closes=False)) as building,
        running(Simulator(building.url, zones=1, interval_s=0.01)) as simulator,
    ):
        await building.next_requests(2)
        assert simulator.stats.zones_cooling == 1


def test_an_answer_with_200_ok_only_in_a_header_is_accepted() -> None:
    command = parse_answer(
        b'HTTP/1.1 200 \r\nx-status: 200 OK\r\n\r\n{"cool_active":true,"heat_active":false}'
    )
    assert command.cooling
    assert not command.heating


@given(st.binary())
def test_an_answer_of_arbitrary_bytes_is_a_failed_post(noise: bytes) -> None:
    with pytest.raises(PostFailed):
        parse_answer(b"HTTP/1.1 200 OK\r\n\r\n" + noise)


async def test_the_simulator_finds_a_server_that_starts_later(logged: LogLines) -> None:
    building = Building(answer(True))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with running(Simulator(url, zones=1, interval_s=0.01)) as simulator:
            assert "failed" in await logged.next()
            async with await asyncio.start_server(building.serve, sock=taken):
                await building.next_requests(2)
                assert simulator.stats.posts_failed >= 1
                assert simulator.stats.posts_ok >= 1


async def test_a_server_that_hangs_costs_a_zone_one_timeout() -> None:
    async with listening(Building(None, answer(True))) as building:
        simulator = Simulator(building.url, zones=1, interval_s=0.01, timeout_s=0.05)
        async with running(simulator):
            await building.next_requests(3)
            assert simulator.stats.posts_failed >= 1
            assert simulator.stats.zones_cooling == 1


async def test_failures_are_logged_once_and_not_for_each_post(logged: LogLines) -> None:
    async with (
        listening(Building(b"")) as building,
        running(Simulator(building.url, zones=4, interval_s=0.01)) as simulator,
    ):
        await building.next_requests(40)
    assert simulator.stats.posts_failed >= 36
    assert logged.lines.qsize() == 1
    assert "200 OK" in await logged.next()


async def test_progress_is_logged_and_the_summary_is_available_at_the_end(logged: LogLines) -> None:
    async with (
        listening(Building(answer(True))) as building,
        running(
            Simulator(building.url, zones=2, interval_s=0.01, report_every_s=0.05)
        ) as simulator,
    ):
        assert re.fullmatch(
            r"In 0\.05 s: \d+ posts ok, 0 failed; p50 .* ms, p99 .* ms; \d of 2 zones cooling",
            await logged.next(),
        )
    assert simulator.summary().startswith(f"2 zones: {simulator.stats.posts_ok} posts ok, 0 failed")


async def test_the_number_of_open_connections_is_bounded() -> None:
    open_now = most = 0
    full = asyncio.Event()
    served: asyncio.Queue[None] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        if open_now == 3:
            full.set()
        await full.wait()
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")  # or the end of the stream, when the simulator ends
            open_now -= 1
            writer.write(answer(False))
            served.put_nowait(None)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with (
        server,
        running(Simulator(url, zones=30, interval_s=0.01, max_connections=3)),
    ):
        for _ in range(60):
            await asyncio.wait_for(served.get(), BOUND_S)
    assert most == 3


@pytest.mark.parametrize("how", ["stop", "cancel"])
async def test_a_run_ends_at_once_and_leaves_no_task(how: str) -> None:
    async with listening(Building(None)) as building:
        stop = asyncio.Event()
        before = asyncio.all_tasks()
        run = asyncio.create_task(Simulator(building.url, zones=20, interval_s=0.01).run(stop))
        await building.next_requests(20)
        building.released.set()
        if how == "stop":
            stop.set()
            await asyncio.wait_for(run, BOUND_S)
        else:
            run.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(run, BOUND_S)
        left = asyncio.all_tasks() - before
        assert not [task for task in left if "serve" not in repr(task.get_coro())]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8080",
        "ftp://127.0.0.1",
        "http://",
        "http://:8080",
        "http://host:0",
        "http://host:65536",
        "http://host:http",
        "http://host:8080 ",
        "http://host/a b",
        "http://host\r\nX-Injected: 1",
        "http://user:secret@host",
        "http://host/?a=1",
        "http://host/#top",
        "http://a..b",
        "http://" + "a" * 64,
        "http://[::1",
        "http://höst",
    ],
)
def test_an_invalid_url_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(ValueError, match=r"for example http://127\.0\.0\.1:8080"):
        Simulator(url, zones=1)


@pytest.mark.parametrize(
    ("url", "host", "port", "tls"),
    [
        ("http://bas.local", "bas.local", 80, False),
        ("https://bas.local/", "bas.local", 443, True),
        ("HTTPS://bas.local:8443", "bas.local", 8443, True),
        ("http://[::1]:8080", "::1", 8080, False),
    ],
)
def test_a_valid_url_is_parsed_to_host_port_and_encryption(
    url: str, host: str, port: int, tls: bool
) -> None:
    target = Target.parse(url)
    assert (target.host, target.port, target.tls) == (host, port, tls)
    assert target.path == "/api/sensor_data"


@pytest.mark.parametrize("zones", [-1, 0, 10_001])
def test_an_invalid_number_of_zones_is_refused(zones: int) -> None:
    with pytest.raises(ValueError, match=r"1\.\.10000"):
        Simulator("http://127.0.0.1:8080", zones=zones)


def test_a_limit_of_zero_connections_is_refused() -> None:
    with pytest.raises(ValueError, match="max_connections"):
        Simulator("http://127.0.0.1:8080", zones=1, max_connections=0)


@pytest.mark.parametrize("name", ["interval_s", "timeout_s", "report_every_s"])
@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_duration_that_is_not_positive_is_refused(name: str, seconds: float) -> None:
    times: dict[str, Any] = {name: seconds}
    with pytest.raises(ValueError, match=name):
        Simulator("http://127.0.0.1:8080", zones=1, **times)


seeds = st.integers(0, 2**32)
start_temperatures = st.floats(-55.0, 125.0)
steps = st.floats(0.0, 3_600.0)


def zone(seed: int, start_c: float = 24.5) -> ThermalZone:
    rng = Random(seed)
    return ThermalZone(ThermalParams.varied(rng), rng, start_c)


@given(
    seeds,
    start_temperatures,
    st.lists(st.tuples(steps, st.booleans(), st.booleans()), max_size=50),
)
def test_a_reading_stays_in_the_sensor_s_range_for_any_commands(
    seed: int, start_c: float, commands: list[tuple[float, bool, bool]]
) -> None:
    room = zone(seed, start_c)
    for step_s, cooling, heating in commands:
        room.advance(step_s, cooling=cooling, heating=heating)
        assert -55.0 <= room.air_c <= 125.0
        assert -550 <= room.read().temp_tenths <= 1250


@given(seeds, st.floats(0.0, 50.0), st.floats(0.1, 3_600.0))
def test_cooling_lowers_and_heating_raises_the_temperature(
    seed: int, start_c: float, step_s: float
) -> None:
    cooled, idle, heated = (zone(seed, start_c) for _ in range(3))
    cooled.advance(step_s, cooling=True, heating=False)
    idle.advance(step_s, cooling=False, heating=False)
    heated.advance(step_s, cooling=False, heating=True)
    assert cooled.air_c < idle.air_c < heated.air_c


@given(seeds, start_temperatures)
def test_a_room_without_cooling_and_heating_reaches_the_outside_temperature(
    seed: int, start_c: float
) -> None:
    room = zone(seed, start_c)
    for _ in range(12):
        room.advance(3_600.0, cooling=False, heating=False)
    assert room.air_c == pytest.approx(room.outside_c(), abs=0.1)


def test_a_controller_follows_the_last_command_until_the_next_one() -> None:
    cooled = Controller("a", zone(1), 0, 0.0, ReceivedCommand(cooling=True, heating=False))
    heated = Controller("b", zone(1), 0, 0.0, ReceivedCommand(cooling=False, heating=True))
    cold, warm = json.loads(cooled.report(600.0)), json.loads(heated.report(600.0))
    assert cold["temp_tenths"] < 200 < 300 < warm["temp_tenths"]


def test_a_controller_s_ticks_wrap_at_two_to_the_thirtieth() -> None:
    controller = Controller("sim-01", zone(1), ticks_offset_ms=2**30 - 1_500, advanced_to_s=0.0)
    ticks = [json.loads(controller.report(now_s))["timestamp"] for now_s in (0.5, 2.5)]
    assert ticks == [2**30 - 1_000, 1_000]


def test_a_negative_time_step_is_refused() -> None:
    with pytest.raises(ValueError, match="step_s"):
        zone(1).advance(-0.1, cooling=False, heating=False)


def readings_of_a_day(room: ThermalZone) -> tuple[list[SensorReading], list[float]]:
    """A day of readings every 2 s under the server's rule (23.0 °C + 1.0 °C, at least 10 s on and
    off), and the times in seconds at which the cooler started."""
    readings, starts = [], []
    cooling, switched_s = False, -10.0
    for now_s in range(0, 86_400, 2):
        room.advance(2.0, cooling=cooling, heating=True)
        reading = room.read()
        readings.append(reading)
        wanted = reading.sensor_ok and reading.temp_tenths > 240
        if wanted != cooling and (now_s - switched_s >= 10 or not reading.sensor_ok):
            cooling, switched_s = wanted, now_s
            if cooling:
                starts.append(float(now_s))
    return readings, starts


@pytest.mark.parametrize("seed", range(4))
def test_the_cooler_cycles_within_minutes_all_day(seed: int) -> None:
    readings, starts = readings_of_a_day(zone(seed))
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert 60 <= statistics.median(gaps) <= 240
    assert max(gaps) < 600
    settled = [reading.temp_tenths for reading in readings[300:]]
    assert 215 <= min(settled) <= 238
    assert 242 <= max(settled) <= 265


def test_the_sensor_fails_rarely_and_keeps_its_last_value_then() -> None:
    readings, _ = readings_of_a_day(zone(1))
    faults = [number for number, reading in enumerate(readings) if not reading.sensor_ok]
    assert 0.001 < len(faults) / len(readings) < 0.02
    for number in faults:
        assert readings[number].temp_tenths == readings[number - 1].temp_tenths


@given(seeds)
def test_the_same_seed_gives_the_same_readings(seed: int) -> None:
    one, other = zone(seed), zone(seed)
    for _ in range(20):
        one.advance(2.0, cooling=True, heating=True)
        other.advance(2.0, cooling=True, heating=True)
        assert one.read() == other.read()


def test_zones_have_different_parameters() -> None:
    rng = Random(1)
    assert len({ThermalParams.varied(rng) for _ in range(100)}) == 100
