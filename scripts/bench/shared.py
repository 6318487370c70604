"""Two server processes on one Redis: from a reading posted to one to a frame of the other."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from scripts.bench import live
from scripts.bench.host import anywhere, cpu_s, resident_kb
from scripts.bench.table import percentile
from tools import wire
from tools.process import REPOSITORY, ServerProcess
from tools.redis_server import EXECUTABLE, RedisServer

CLIENTS, EVENTS_A_SECOND, SECONDS = 200, 100, 20.0
PROCESSES = 2
REST_S = 3.0


async def measure(data_dir: Path, seconds: float = SECONDS) -> dict[str, float]:
    """The figures; none where redis-server is not installed."""
    if EXECUTABLE is None:
        sys.stderr.write("redis-server is not installed: two processes are not measured\n")
        return {}
    with ExitStack() as stack:
        # Two servers, Redis and the load share the machine's cores as they would in the field.
        stack.enter_context(anywhere())
        redis = stack.enter_context(RedisServer())
        figures = _inside(redis.url, seconds)
        servers = []
        for _ in range(PROCESSES):
            server = ServerProcess(data_dir, REDIS_URL=redis.url, PYTHONDONTWRITEBYTECODE="")
            servers.append(stack.enter_context(server))
        await asyncio.sleep(min(REST_S, seconds))
        figures["idle memory with Redis"] = resident_kb(servers[-1].pid) / 1024
        password = servers[0].password
        assert password is not None, servers[0].output
        session = await wire.log_in(servers[0].port, password)
        return figures | await _live(servers, session, seconds)


async def _live(servers: list[ServerProcess], session: str, seconds: float) -> dict[str, float]:
    ports = [server.port for server in servers]
    streams = [await wire.open_streams(port, session, CLIENTS // PROCESSES) for port in ports]
    everywhere = [stream for some in streams for stream in some]
    used_s = sum(cpu_s(server.pid) for server in servers)
    sent = await live.post(ports, round(seconds * EVENTS_A_SECOND), EVENTS_A_SECOND)
    await live.until_read(everywhere, len(sent))
    used_s = sum(cpu_s(server.pid) for server in servers) - used_s
    for stream in everywhere:
        stream.close()
    first = min(sent)
    own: list[float] = []
    others: list[float] = []
    for index, some in enumerate(streams):
        here = {stamp: at for stamp, at in sent.items() if (stamp - first) % PROCESSES == index}
        own += live.delays_ms(some, here)
        others += live.delays_ms(some, {s: at for s, at in sent.items() if s not in here})
    lost, repeated = live.lost_and_repeated(everywhere, sent)
    return {
        "two processes, post to the other's frame, p50": percentile(others, 50),
        "two processes, post to the other's frame, p99": percentile(others, 99),
        "two processes, post to the other's frame, max": max(others),
        "two processes, post to own frame, p99": percentile(own, 99),
        "two processes, events lost": lost,
        "two processes, events repeated": repeated,
        "two processes, processor of both": 100 * used_s / seconds,
    }


def _inside(url: str, seconds: float) -> dict[str, float]:
    command = [sys.executable, "-m", "scripts.bench.shared_inside", url, str(seconds)]
    done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures
