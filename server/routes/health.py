"""For operators and their tools: /api/health, /healthz, /readyz, /metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from prometheus_client.exposition import CONTENT_TYPE_LATEST
from quart import Blueprint, Response
from quart_schema import validate_response

from server.clock import Clock
from server.config.config import ServerConfig
from server.errors import Unavailable
from server.metrics import Metrics
from server.routes.models import Alive, Health, Ready

CHECK_S = 2.5

Checks = Mapping[str, Callable[[], Awaitable[None]]]


def blueprint(
    config: ServerConfig,
    checks: Checks,
    draining: Callable[[], bool],
    metrics: Metrics,
    clock: Clock,
) -> Blueprint:
    """Public routes that tell nothing of any tenant."""
    bp = Blueprint("health", __name__)

    @bp.get("/api/health")
    @validate_response(Health)
    async def health() -> Health:
        services = {"auth": config.auth_on, "firestore": False}
        return Health("healthy", clock.now_ms() // 1000, services)

    @bp.get("/healthz")
    @validate_response(Alive)
    async def alive() -> Alive:
        return Alive()

    @bp.get("/readyz")
    @validate_response(Ready, 200)
    @validate_response(Ready, 503)
    async def ready() -> tuple[Ready, int]:
        if draining():
            return Ready("draining", {}), 503
        answers = dict(zip(checks, await asyncio.gather(*map(_ask, checks.values())), strict=True))
        if all(answer == "ok" for answer in answers.values()):
            return Ready("ready", answers), 200
        return Ready("unavailable", answers), 503

    @bp.get("/metrics")
    async def exposition() -> Response:
        return Response(metrics.exposition(), content_type=CONTENT_TYPE_LATEST)

    return bp


async def _ask(check: Callable[[], Awaitable[None]]) -> str:
    try:
        async with asyncio.timeout(CHECK_S):
            await check()
    except Unavailable as error:
        return error.code
    except TimeoutError:
        return "no answer"
    return "ok"
