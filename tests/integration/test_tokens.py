"""Tokens with real processes: the commands, and streams that end on every process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.stream import StreamClient, eventually
from tools.process import ServerProcess, run_command
from tools.redis_server import RedisServer

# A revoked token ends within 5 s; the rest is for a machine that is busy with other tests.
ENDS_S = 50.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, Path]]:
    """A running server, and the data folder that commands share with it."""
    folder = tmp_path_factory.mktemp("tokens") / "data"
    with ServerProcess(folder) as running:
        yield running, folder


async def command(folder: Path, *arguments: str) -> list[str]:
    """The lines that a command prints."""
    done = await asyncio.to_thread(run_command, *arguments, data_dir=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def sending(url: str, secret: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {secret}"})


async def test_a_token_is_made_listed_used_and_revoked_beside_a_running_server(
    server: tuple[ServerProcess, Path],
) -> None:
    running, folder = server
    made = ("create-token", "pump", "--role", "operator", "--zones", "lab", "attic")
    said, secret = await command(folder, *made, "--expires", "90d")
    assert said == "token pump (operator, tenant default), shown only now:"
    async with sending(running.url, secret) as program:
        post = {"temp_tenths": 235, "sensor_ok": True, "device_id": "lab"}
        assert (await program.post("/api/sensor_data", json=post)).status_code == 200
        assert (await program.get("/api/telemetry?device_id=lab")).json()[0]["temp_tenths"] == 235
        assert (await program.get("/api/telemetry?device_id=shed")).status_code == 403
        head, line = await command(folder, "list-tokens")
        assert head.split("\t")[:5] == ["NAME", "ROLE", "TENANT", "KIND", "STATE"]
        fields = line.split("\t")
        assert fields[:5] == ["pump", "operator", "default", "token", "valid"]
        assert fields[5].endswith("Z")
        assert fields[6] != "never"
        assert fields[7] == "attic lab"
        (said,) = await command(folder, "revoke-token", "pump")
        assert said.startswith("revoked pump (tenant default)")
        assert (await program.get("/api/telemetry?device_id=lab")).status_code == 401
    assert len(await command(folder, "list-tokens")) == 1


async def test_a_display_s_link_of_the_command_line_opens_once(
    server: tuple[ServerProcess, Path],
) -> None:
    running, folder = server
    said, link, _ = await command(folder, "create-token", "lobby", "--display")
    assert said == "link of display lobby (tenant default), shown only now:"
    path, _, secret = link.partition("#")
    assert path == "http://SERVER:8080/auth/display"
    async with httpx.AsyncClient(base_url=running.url) as screen:
        assert (await screen.get("/auth/display")).status_code == 200
        assert (await screen.post("/auth/display", json={"secret": secret})).status_code == 200
        assert (await screen.get("/auth/status")).json()["kind"] == "display"
        await command(folder, "revoke-token", "lobby")
        assert (await screen.get("/auth/status")).status_code == 401


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("create-token", "a", "--role", "admin"), 2),
        (("create-token", "a", "--expires", "soon"), 2),
        (("create-token", "a", "--expires", "0d"), 2),
        (("create-token", "a", "--expires", "99999d"), 2),
        (("create-token", "a", "--display", "--role", "operator"), 2),
        (("create-token", "a b"), 1),
        (("revoke-token", "nothing"), 1),
    ],
)
def test_a_command_for_no_possible_token_fails_and_says_why(
    tmp_path: Path, arguments: tuple[str, ...], code: int
) -> None:
    done = run_command(*arguments, data_dir=tmp_path / "data")
    assert (done.returncode, done.stdout) == (code, "")
    assert "bas_server.py" in done.stderr


async def test_the_streams_of_a_revoked_token_end_on_every_process_and_others_go_on(
    tmp_path: Path, redis: RedisServer
) -> None:
    """OWASP ASVS 5.0, V7.4.1: a revoked credential is worth nothing anywhere."""
    folder = tmp_path / "data"
    shared = {"REDIS_URL": redis.url}
    with ServerProcess(folder, **shared) as one, ServerProcess(folder, **shared) as other:
        _, revoked = await command(folder, "create-token", "pump")
        _, kept = await command(folder, "create-token", "grafana")
        streams = [
            await StreamClient.open(process.port, token=secret)
            for process in (one, other)
            for secret in (revoked, kept)
        ]
        assert [stream.status for stream in streams] == [200] * 4
        await command(folder, "revoke-token", "pump")
        for stream in streams[::2]:
            await stream.rest(ENDS_S)
        async with sending(other.url, revoked) as program:
            assert (await program.get("/api/telemetry")).status_code == 401
        async with sending(one.url, kept) as program:

            async def counted() -> bool:
                health = (await program.get("/api/health")).json()
                return bool(health["sse"]["subscribers"] == {"default": 2})

            await eventually(counted, "two streams that go on")
        for stream in streams:
            await stream.close()
