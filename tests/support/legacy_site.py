"""A server process with the ten legacy views, the old application and a view of its own state."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import uvloop
from quart import Blueprint

from bas_server import open_container
from server.config.config import ServerConfig
from server.http.serve import listen, serve, stop_signal
from tests.support import legacy_app, legacy_views

STEP_S = 0.005


async def main() -> None:
    config, stop = ServerConfig.from_env(), stop_signal()
    delays: list[float] = []

    async def measure() -> None:
        while True:
            due = time.monotonic() + STEP_S
            await asyncio.sleep(STEP_S)
            delays.append(time.monotonic() - due)

    async def ready(port: int) -> None:
        print(f"serving on http://127.0.0.1:{port}", flush=True)

    probe = Blueprint("probe", __name__)

    @probe.get("/probe")
    async def report():
        """The event loop's worst delay since the last call, and other state that tests check."""
        worst = max(delays, default=0.0)
        delays.clear()
        threads = [one.name.split("-")[0] for one in threading.enumerate()]
        return {
            "worst_s": worst,
            "taken": len(legacy_app.taken),
            "closed": legacy_app.closed.is_set(),
            "threads": {name: threads.count(name) for name in ("view", "wsgi")},
        }

    with listen(config.host, config.port) as sock:
        async with open_container(config) as container:
            await container.base.admin.first_admin("default")
            container.app.register_blueprint(legacy_views.blueprint(container.services))
            container.app.register_blueprint(probe)
            measuring = asyncio.create_task(measure())
            drain = container.sse.hub.drain
            bounds = {"max_connections": 2000, "is_shared_address": lambda _: True}
            await serve(container.app, container.posts, sock, drain, ready, stop, **bounds)
            measuring.cancel()
            await asyncio.gather(measuring, return_exceptions=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    left = [one.name for one in threading.enumerate() if one is not threading.main_thread()]
    print(json.dumps({"threads left": left}), flush=True)
