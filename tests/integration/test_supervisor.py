"""BAS_PROCESSES: several processes on one port, seen by a client while processes end and start."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.crew import (
    POSTERS,
    PROCESSES,
    Crew,
    Load,
    alive,
    answered,
    complete,
    dealt,
)
from tests.support.stream import WAIT_S, StreamClient, caller, eventually, figures, log_in
from tools.daemon import free_port
from tools.process import ServerProcess
from tools.redis_server import RedisServer

ROLLING, ROLLED = "each server process is replaced", "all server processes are replaced"

GONE_S = 30.0


@pytest.fixture
def crew(tmp_path: Path, redis: RedisServer) -> Iterator[Crew]:
    """A running server of three processes."""
    with Crew(tmp_path / "data", redis) as server:
        yield server


@contextlib.contextmanager
def launched(crew: Crew) -> Iterator[Crew]:
    """Start the server without waiting for it; at the end it is stopped."""
    crew.launch()
    with contextlib.ExitStack() as ending:
        ending.push(crew)
        yield crew


def refused(crew: Crew, reason: str) -> None:
    """Check that the server does not start and that it logs this reason."""
    with launched(crew):
        assert crew.wait() == 1
        assert re.search(reason, crew.output), crew.output


async def test_every_process_accepts_connections(crew: Crew) -> None:
    gains = await dealt(crew, 60, await complete(crew))
    assert sum(gains.values()) == 60
    assert min(gains.values()) > 0
    assert crew.lines_with("serving on") == 1
    assert crew.terminate() == 0


async def test_a_killed_process_is_replaced_and_only_its_connections_break(crew: Crew) -> None:
    before = await complete(crew)
    victim = min(before)
    async with Load(crew).at_work() as load:
        os.kill(victim, signal.SIGKILL)
        after = await complete(crew, {victim})
        await load.more()
    assert before - after == {victim}
    assert len(load.failures) <= POSTERS, load.failures
    assert not any("Refused" in failure for failure in load.failures)
    assert await load.lost() == set()
    ended = f"server process {victim} ended (SIGKILL)"
    await eventually(lambda: crew.lines_with(ended) == 1, "the end is logged")
    assert crew.terminate() == 0


async def test_the_other_processes_take_all_connections_while_one_cannot_start(crew: Crew) -> None:
    victim, *others = sorted(await complete(crew))
    crew.let_starts_fail()
    os.kill(victim, signal.SIGKILL)

    def delays() -> list[float]:
        return [float(text) for text in re.findall(r"starts in (\d+\.\d) s", crew.output)]

    await eventually(lambda: max(delays(), default=0) > 1, "a long delay", 2 * WAIT_S)
    # None of them waited for the one that is to start.
    assert sum((await dealt(crew, 60, set(others))).values()) == 60
    assert delays()[0] == 0
    # Two that differ by their jitter alone may be shown as the same tenth of a second.
    assert all(longer >= shorter for shorter, longer in itertools.pairwise(delays()))
    assert all(later > earlier for earlier, later in zip(delays(), delays()[2:], strict=False))

    crew.let_starts_succeed()

    async def replacement_answers() -> bool:
        return sum((await dealt(crew, 20, set(others))).values()) < 20

    await eventually(replacement_answers, "a third process answers again", 2 * WAIT_S)
    assert await complete(crew, {victim}) > set(others)
    assert crew.terminate() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
async def test_a_signal_under_load_drains_every_process(crew: Crew, number: signal.Signals) -> None:
    pids = await complete(crew)
    streams = [await StreamClient.open(crew.port) for _ in range(12)]
    for stream in streams:
        await stream.opening()
    async with Load(crew).at_work():
        began = time.monotonic()
        crew.signal(number)
        crew.signal(number)
        code = await asyncio.to_thread(crew.wait, 15)
        took_s = time.monotonic() - began
    assert code == 0, crew.output
    assert took_s < GONE_S
    assert not any(map(alive, pids))
    for stream in streams:
        assert (await stream.rest())[-1].event == "bye"
        assert not stream.cut
        await stream.close()
    assert "Traceback" not in crew.output


async def test_a_signal_during_the_start_stops_the_server(
    tmp_path: Path, redis: RedisServer
) -> None:
    with launched(Crew(tmp_path / "data", redis)) as crew:
        await eventually(lambda: crew.children, "the first child")
        pids = crew.children
        assert await asyncio.to_thread(crew.terminate) == 0, crew.output
    assert not any(map(alive, pids))
    assert "Traceback" not in crew.output


async def test_a_connection_made_during_the_start_is_answered(
    tmp_path: Path, redis: RedisServer
) -> None:
    port = free_port()
    with launched(Crew(tmp_path / "data", redis, BAS_PORT=str(port))) as crew:
        await eventually(lambda: crew.children, "the first child")
        (await answered(port))[1].close()
        assert await asyncio.to_thread(crew.terminate) == 0


async def test_a_signal_to_children_alone_does_not_end_the_server(crew: Crew) -> None:
    """A signal from a terminal reaches only the supervisor: each child has its own session."""
    before = await complete(crew)
    hung_up, stopped, stays = sorted(before)
    assert os.getsid(hung_up) != os.getsid(crew.pid)
    os.kill(hung_up, signal.SIGHUP)
    os.kill(stopped, signal.SIGINT)
    with contextlib.suppress(ProcessLookupError):  # the first one may have ended it
        os.kill(stopped, signal.SIGINT)
    after = await complete(crew, {stopped})
    assert {hung_up, stays} < after
    ended = f"server process {stopped} ended (exit code 0)"
    await eventually(lambda: crew.lines_with(ended) == 1, "the end is logged")
    assert crew.terminate() == 0


async def test_no_child_outlives_a_killed_supervisor(crew: Crew) -> None:
    pids = await complete(crew)
    async with await StreamClient.open(crew.port) as stream:
        await stream.opening()
        crew.kill()
        assert [frame.event for frame in await stream.rest()] == ["bye"]
        assert not stream.cut
    await eventually(lambda: not any(map(alive, pids)), "all children are gone")


async def test_a_rolling_restart_replaces_every_process_and_fails_no_request(crew: Crew) -> None:
    before = await complete(crew)
    async with Load(crew).at_work() as load:
        crew.signal(signal.SIGHUP)
        await eventually(
            lambda: crew.lines_with(ROLLED) == 1,
            "the roll is over",
            3 * WAIT_S,
        )
        assert not crew.children & before
        await load.more()
    assert load.failures == []
    assert await load.lost() == set()
    assert len(crew.children) == PROCESSES
    assert crew.terminate() == 0
    assert "Traceback" not in crew.output


async def test_rolling_restarts_requested_during_one_are_merged_into_one_more(crew: Crew) -> None:
    crew.signal(signal.SIGHUP)
    await eventually(lambda: crew.lines_with(ROLLING) == 1, "the first roll has begun")
    crew.signal(signal.SIGHUP)
    crew.signal(signal.SIGHUP)
    await eventually(
        lambda: crew.lines_with(ROLLED) == 2,
        "both rolls are over",
        3 * WAIT_S,
    )
    assert crew.lines_with(ROLLING) == 2
    assert len(crew.children) == PROCESSES
    assert crew.terminate() == 0


async def test_a_rolling_restart_stops_if_a_replacement_does_not_start(crew: Crew) -> None:
    before = await complete(crew)
    crew.let_starts_fail()
    crew.signal(signal.SIGHUP)
    await eventually(lambda: crew.lines_with("the replacement stops here"), "the roll has stopped")
    assert await complete(crew) == before
    (await answered(crew.port))[1].close()
    crew.let_starts_succeed()
    crew.signal(signal.SIGHUP)
    await complete(crew, before)
    await eventually(
        lambda: crew.lines_with(ROLLED) == 1,
        "the second roll is over",
        WAIT_S,
    )
    assert crew.terminate() == 0


async def test_a_signal_during_a_rolling_restart_stops_every_process(crew: Crew) -> None:
    crew.signal(signal.SIGHUP)
    await eventually(lambda: len(crew.children) > PROCESSES, "a replacement starts")
    pids = crew.children
    assert await asyncio.to_thread(crew.terminate) == 0, crew.output
    assert not any(map(alive, pids))


async def test_a_process_killed_during_its_own_replacement_is_replaced_once(crew: Crew) -> None:
    first = min(await complete(crew))
    crew.signal(signal.SIGHUP)
    await eventually(lambda: len(crew.children) > PROCESSES, "its replacement starts")
    os.kill(first, signal.SIGKILL)
    await eventually(
        lambda: crew.lines_with(ROLLED) == 1,
        "the roll is over",
        3 * WAIT_S,
    )
    assert len(crew.children) == PROCESSES
    assert crew.terminate() == 0


async def test_a_server_of_one_process_ignores_sighup(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", BAS_AUTH_ENABLED="0") as server:
        server.signal(signal.SIGHUP)
        await eventually(lambda: "restart it" in server.output, "it says what to do")
        (await answered(server.port))[1].close()
        assert server.terminate() == 0


async def test_the_first_admin_is_created_once_and_can_log_in_at_every_process(
    tmp_path: Path, redis: RedisServer
) -> None:
    with Crew(tmp_path / "data", redis, BAS_AUTH_ENABLED="1") as crew:
        assert crew.password is not None
        assert crew.lines_with("password") == 1
        for _ in range(2 * PROCESSES):
            assert await log_in(crew.url, "admin", crew.password)
        assert crew.terminate() == 0
        assert crew.lines_with("password") == 1


async def test_the_demo_runs_in_only_one_process(tmp_path: Path, redis: RedisServer) -> None:
    with Crew(tmp_path / "data", redis, "--demo") as crew:
        async with caller(crew.url) as client:

            async def reported() -> list[int]:
                rows = (await client.get("/api/telemetry?device_id=sim-01")).json()
                return [row["timestamp"] for row in rows]

            async def thrice() -> bool:
                return len(await reported()) >= 3

            await eventually(thrice, "the first zone posts", 2 * WAIT_S)
            for later, earlier in itertools.pairwise(await reported()):
                assert later - earlier > 1000
        assert await asyncio.to_thread(crew.terminate) == 0
        assert "posts failed" not in crew.output
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["demo"]


def test_a_data_folder_allows_several_servers_with_redis_or_one_without(
    tmp_path: Path, redis: RedisServer
) -> None:
    folder = tmp_path / "data"
    alone = {"BAS_PROCESSES": "1", "REDIS_URL": ""}
    with Crew(folder, redis) as first:
        with Crew(folder, redis, BAS_PROCESSES="1"):
            pass
        refused(Crew(folder, redis, **alone), "another server already uses")
        assert first.terminate() == 0
    with Crew(folder, redis, **alone):
        for processes in ("1", "2"):
            refused(Crew(folder, redis, BAS_PROCESSES=processes), "another server already uses")


def test_a_second_server_does_not_share_the_port(crew: Crew, redis: RedisServer) -> None:
    second = Crew(crew.file.parent / "other", redis, BAS_PORT=str(crew.port))
    refused(second, f"cannot listen on .* {crew.port} .*BAS_PORT")
    assert crew.terminate() == 0


async def test_metrics_add_up_all_processes_and_never_decrease(crew: Crew) -> None:
    streams = [await StreamClient.open(crew.port) for _ in range(30)]
    for stream in streams:
        await stream.opening()

    async def current() -> dict[str, float]:
        """The metrics, read on a new connection and so from any process."""
        async with caller(crew.url) as client:
            return await figures(client)

    for _ in range(2 * PROCESSES):
        assert (await current())["bas_streams_open"] == 30
    async with Load(crew).at_work() as load:
        pass
    stored = len(load.answered)
    assert load.failures == []
    assert (await current())["bas_readings_stored_total"] == stored

    victim = min(await complete(crew))
    os.kill(victim, signal.SIGKILL)
    await complete(crew, {victim})
    endings = await asyncio.gather(*(lives_on(stream) for stream in streams))
    assert 0 < sum(endings) < 30

    async def no_dead_streams() -> bool:
        return (await current())["bas_streams_open"] == sum(endings)

    await eventually(no_dead_streams, "the dead one's streams do not count as open")
    for _ in range(2 * PROCESSES):
        figures_now = await current()
        assert figures_now["bas_readings_stored_total"] == stored
        assert figures_now["bas_streams_opened_total"] == 30
    for stream in streams:
        await stream.close()
    assert await asyncio.to_thread(crew.terminate) == 0
    assert "Traceback" not in crew.output


async def lives_on(stream: StreamClient) -> bool:
    """Whether the stream is still open half a second later."""
    with contextlib.suppress(TimeoutError):
        await stream.rest(0.5)
    return not stream.cut


async def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path, redis: RedisServer) -> None:
    (tmp_path / "tmp").mkdir()
    with Crew(tmp_path / "data", redis, TMPDIR=str(tmp_path / "tmp")) as crew:
        assert len(list((tmp_path / "tmp").iterdir())) == 1
        assert crew.terminate() == 0
    assert list((tmp_path / "tmp").iterdir()) == []
