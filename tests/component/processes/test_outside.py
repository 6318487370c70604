"""The signs of life: systemd's notifications and watchdog, and the heartbeat to a URL."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import http.server
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from bas_server import open_container
from server.common.errors import Unavailable
from server.config.config import ServerConfig
from server.container import Container
from server.processes import heartbeat, outside, pulse
from server.processes.heartbeat import Heartbeat
from server.processes.outside import Outside
from server.processes.pulse import ALIVE, NO_ANSWER, WELL, Pulse
from server.processes.systemd import Systemd
from server.services.ports.documents import StoreUnavailable
from tests.support.clock import ManualClock
from tests.support.stream import eventually
from tools.daemon import free_port


class Init:
    """systemd's end of NOTIFY_SOCKET, and what it heard."""

    def __init__(self, name: str) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind("\0" + name[1:] if name.startswith("@") else name)
        self._sock.setblocking(False)
        self.environment = {"NOTIFY_SOCKET": name}
        self._states: list[str] = []

    @property
    def states(self) -> list[str]:
        with contextlib.suppress(BlockingIOError):
            while True:
                self._states.append(self._sock.recv(4096).decode())
        return self._states

    def close(self) -> None:
        self._sock.close()


@pytest.fixture(params=["path", "abstract"])
def init(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Init]:
    own = Init(str(tmp_path / "n") if request.param == "path" else f"@bas-test-{os.getpid()}")
    yield own
    own.close()


class Peer(http.server.BaseHTTPRequestHandler):
    """Somebody's service for heartbeats."""

    calls: list[str]
    status = 200

    def do_GET(self) -> None:
        type(self).calls.append(f"{self.path} {self.headers['User-Agent']}")
        self.send_response(type(self).status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(port: int) -> Iterator[type[Peer]]:
    peer = type("OwnPeer", (Peer,), {"calls": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), peer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield peer
    finally:
        server.shutdown()
        server.server_close()


async def test_systemd_hears_of_the_start_the_work_and_the_stop(init: Init) -> None:
    state = SimpleNamespace(alive=True)
    systemd = Systemd(init.environment | {"WATCHDOG_USEC": "40000"})
    async with Outside("", lambda: state.alive, lambda: True, systemd) as signs:
        assert init.states == []
        signs.serving()
        await eventually(lambda: init.states.count("WATCHDOG=1") >= 3, "three pats")
        assert init.states[0] == "READY=1"
        state.alive = False
        await asyncio.sleep(0)  # a pat that is under way
        before = len(init.states)
        signs.stopping()
        await eventually(lambda: "STOPPING=1" in init.states, "the stop")
        assert init.states[before:].count("WATCHDOG=1") <= 1


@pytest.mark.parametrize(
    ("more", "watchdog_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "20000000"}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "no"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_the_watchdog_is_for_the_process_that_systemd_names(
    more: dict[str, str], watchdog_s: float | None
) -> None:
    assert Systemd({"NOTIFY_SOCKET": "/run/x"} | more).watchdog_s == watchdog_s
    assert Systemd(more).watchdog_s is None


def test_a_systemd_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    Systemd({"NOTIFY_SOCKET": str(tmp_path / "none")}).say("READY=1")
    Systemd({}).say("READY=1")


async def test_a_heartbeat_is_sent_only_while_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "BEAT_S", 0.02)
    state = SimpleNamespace(well=True)
    with serving(port := free_port()) as peer:
        url = f"http://127.0.0.1:{port}/ping/secret"
        async with Outside(url, lambda: True, lambda: state.well, Systemd({})) as signs:
            signs.serving()
            await eventually(lambda: len(peer.calls) >= 3, "three heartbeats")
            assert peer.calls[0].startswith("/ping/secret bas-server/")
            state.well = False
            signs_thread = signs._heartbeat._thread  # type: ignore[union-attr]
            assert signs_thread is not None
            await asyncio.to_thread(signs_thread.join)
            sent = len(peer.calls)
            for _ in range(10):
                await asyncio.sleep(0.01)
            assert len(peer.calls) == sent
            state.well = True
            await eventually(lambda: len(peer.calls) > sent, "another heartbeat")


def called(one: Heartbeat) -> None:
    one.beat()
    assert one._thread is not None
    one._thread.join()


def test_failing_calls_are_one_line_without_the_secret_and_one_when_they_succeed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = Heartbeat(f"http://127.0.0.1:{(port := free_port())}/secret?key=secret")
    called(one)
    called(one)
    (line,) = caplog.messages
    assert line.startswith("127.0.0.1 of BAS_HEARTBEAT_URL was not reached ([Errno 111]")
    with serving(port) as peer:
        peer.status = 404
        called(one)
        peer.status = 200
        called(one)
        called(one)
    assert len(caplog.messages) == 2
    assert "answers again" in caplog.messages[1]
    assert "secret" not in caplog.text


async def test_a_peer_that_never_answers_holds_up_nobody(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "TIMEOUT_S", 3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        one = Heartbeat(f"http://127.0.0.1:{silent.getsockname()[1]}/")
        loop = asyncio.get_running_loop()
        began = loop.time()
        one.beat()
        one.beat()
        assert loop.time() - began < 2
        assert one._thread is not None
        await asyncio.to_thread(one._thread.join)
    assert caplog.messages[0].count("the call of a minute ago has not ended") == 1
    assert len(caplog.messages) == 1


async def test_the_heartbeat_stops_while_readyz_says_degraded(
    config: ServerConfig, clock: ManualClock
) -> None:
    watched = dataclasses.replace(config, heartbeat_url="http://127.0.0.1:1/")
    async with open_container(watched, clock) as container:
        damage: list[Unavailable] = []

        def raise_if_damaged() -> None:
            for one in damage:
                raise one

        object.__setattr__(container.base, "raise_if_damaged", raise_if_damaged)
        async with Pulse(container) as one:
            assert not one.well()  # nothing is proved yet
            await eventually(one.well, "it has proved that all is well")
            damage.append(Unavailable(code="DATABASE_DAMAGED"))
            clock.advance(pulse.PROVE_S)
            await eventually(lambda: one.answer() == ALIVE, "the damage is noticed")
            damage.clear()
            await eventually(one.well, "the end of the damage is noticed")


async def test_a_process_is_well_alive_or_hung(container: Container) -> None:
    stuck = SimpleNamespace(seconds=0.0)
    base = container.base
    object.__setattr__(base, "store_stuck_s", lambda: stuck.seconds)
    async with Pulse(container) as one:
        assert one.answer() == WELL
        base.stores.watch.lose(StoreUnavailable(message="gone"))
        assert one.answer() == ALIVE
        stuck.seconds = base.config.store_grace_s - 1
        assert one.answer() == ALIVE
        stuck.seconds = base.config.store_grace_s + 1
        assert one.answer() == NO_ANSWER
