"""Runs clients of the live stream through drops, ends and refusals, and prints a table of it.

Each case has a new client, behind a relay that can cut, refuse and answer by itself. The server has
3,000 zones (a snapshot of 1 MB) and a Redis, so that it keeps its history over a restart.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import httpx

from scripts.matrix.relay import Client, Relay, Site, free_port, until
from tools.process import ServerProcess
from tools.redis_server import RedisServer

HERE = Path(__file__).parent
ZONES = 3000


async def drop(site: Site, client: Client) -> str:
    await site.post(3)
    await client.gets(3)
    site.relay.mode = "refuse"
    site.relay.cut()
    await site.post(3)
    site.relay.mode = "pass"
    await client.gets(6)
    await site.post(3)
    await client.gets(9)
    return site.outcome(client)


async def bye(site: Site, client: Client) -> str:
    await site.post(3)
    await client.gets(3)
    await site.restart()
    await site.post(3)
    await client.gets(6)
    return site.outcome(client)


async def reset(site: Site, client: Client) -> str:
    await site.post(3)
    await client.gets(3)
    await site.restart("FLUSHALL")
    if await client.says("hello reset"):
        return "`reset`, snapshot"
    if "hello fresh" in client.lines[1:]:
        return "fresh: sends no id"
    return "ends" if client.ended else "no"


async def outage(site: Site, client: Client) -> str:
    await site.post(3)
    await client.gets(3)
    os.kill(site.redis.pid, signal.SIGSTOP)
    await site.post(3)
    await client.gets(6)
    os.kill(site.redis.pid, signal.SIGCONT)
    # Until the history has the three, and the stream has their new ids.
    await asyncio.sleep(8)
    site.relay.cut()
    await site.post(3)
    await client.gets(9)
    await asyncio.sleep(1)
    return site.outcome(client)


async def refused(site: Site, client: Client, code: str) -> str:
    await site.post(1)
    await client.gets(1)
    site.relay.mode = code
    asked = len(site.relay.requests)
    site.relay.cut()
    await asyncio.sleep(6)
    asked = len(site.relay.requests) - asked
    site.relay.mode = "pass"
    await site.post(3)
    if await client.gets(4):
        return f"asks again ({asked} in 6 s)"
    return "stops" if asked else "ends"


Case = Callable[[Site, Client], Awaitable[str]]
CASES: dict[str, Case] = {
    "drop": drop,
    "`bye`": bye,
    "`reset`": reset,
    "outage of Redis": outage,
    "401": lambda site, client: refused(site, client, "401"),
    "503": lambda site, client: refused(site, client, "503"),
}


async def one_case(site: Site, case: str, command: Sequence[str], folder: Path, path: str) -> str:
    """The answer of one case, with a new client."""
    site.relay.mode, site.posted = "pass", []
    client = await Client.start(command, folder, path)
    try:
        if not await until(lambda: any(line.startswith("hello") for line in client.lines)):
            return f"does not start: {client.lines[-1:]}"
        await asyncio.sleep(0.5)
        return await CASES[case](site, client)
    finally:
        await client.stop()


def form(requests: Sequence[bytes]) -> str:
    """How the client sent the id of its last event."""
    heads = [head.lower() for head in requests]
    if any(b"last-event-id:" in head for head in heads):
        return "header"
    return "query" if any(b"lasteventid=" in head for head in heads) else "none"


def clients(folder: Path, versions: dict[str, str]) -> dict[str, tuple[list[str], Path, str]]:
    """Command, folder and PYTHONPATH of each client, by name and version."""
    found: dict[str, tuple[list[str], Path, str]] = {}
    node = shutil.which("node") or "node"
    for name, version in versions.items():
        kind, _, package = name.partition(" ")
        label = f"{name} {version}"
        if kind == "npm":
            shutil.copy(HERE / "clients.mjs", folder / "npm")
            found[label] = ([node, "clients.mjs", package], folder / "npm", "")
        elif kind == "Go":
            found[label] = ([str(folder / "go-client")], folder, "")
        else:
            program = [sys.executable, str(HERE / "clients.py")]
            # `Python httpx-sse` is called by its package, `curl in a loop` and Chromium by name.
            own = package if kind == "Python" else name
            found[label] = ([*program, own.replace(" ", "-")], folder, str(folder / own))
    return found


async def main(folder: Path, versions: dict[str, str]) -> None:
    """Print the table, a row for each client."""
    rows = []
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        data = Path(tempfile.mkdtemp(dir=folder))
        port = free_port()
        server = stack.enter_context(
            ServerProcess(data, BAS_PORT=str(port), REDIS_URL=redis.url, BAS_AUTH_ENABLED="0")
        )
        relay = Relay(port)
        await stack.enter_async_context(await relay.start())
        site = Site(server, redis, relay)
        many = [
            {"device_id": f"zone-{number}", "temp_tenths": 200, "sensor_ok": True}
            for number in range(ZONES)
        ]
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            for start in range(0, ZONES, 1000):
                part = many[start : start + 1000]
                await client.post(f"{server.url}/api/sensor_data/batch", json=part)
        url = f"http://127.0.0.1:{relay.port}/api/sse/telemetry"
        for name, (command, its_folder, path) in clients(folder, versions).items():
            relay.requests.clear()
            row = [await one_case(site, case, [*command, url], its_folder, path) for case in CASES]
            rows.append([name, *row, form(relay.requests)])
            print(rows[-1], file=sys.stderr, flush=True)
    print(table(["client", *CASES, "sends its last id in"], rows))
    if site.away_s:
        print(f"Restarts took {min(site.away_s):.1f} to {max(site.away_s):.1f} s.")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The rows in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    pairs = dict(argument.rsplit("=", 1) for argument in sys.argv[2:])
    asyncio.run(main(Path(sys.argv[1]), pairs))
