"""For operators and their tools: /api/health, /healthz, /readyz, /metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from prometheus_client.exposition import CONTENT_TYPE_LATEST
from quart import Blueprint, Response
from quart_schema import validate_response

from server.auth.guard import Guard
from server.auth.principal import DEFAULT_TENANT
from server.clock import Clock
from server.config.config import ServerConfig
from server.errors import BasError, Unavailable
from server.metrics import Metrics
from server.routes.models import Alive, FirestoreHealth, Health, LiveStreams, Ready
from server.services.sse_service.service import SSEService

# Longer than a store takes to say that it does not answer.
CHECK_S = 3.0
# Without these no reading is stored or answered. A server that lacks others still serves: were it
# called unavailable, a proxy would take all processes away at once.
VITAL = {"store"}

Checks = Mapping[str, Callable[[], Awaitable[None]]]


def blueprint(
    config: ServerConfig,
    checks: Checks,
    sse: SSEService,
    guard: Guard,
    metrics: Metrics,
    clock: Clock,
) -> Blueprint:
    """Public routes; they tell of the caller's tenant alone."""
    bp = Blueprint("health", __name__)

    @bp.get("/api/health")
    @validate_response(Health)
    async def health() -> Health:
        services = {"auth": config.auth_on, "firestore": config.uses_firestore}
        answer = Health("healthy", clock.now_ms() // 1000, services, await live_streams())
        if config.uses_firestore:
            answers = await ask({name: checks[name] for name in checks if name != "log"})
            failed = [text for text in answers.values() if text != "ok"]
            answer.firestore = FirestoreHealth(failed[0] if failed else "healthy")
        return answer

    async def live_streams() -> LiveStreams:
        try:
            caller = await guard.principal_if_any()
        except BasError:  # whoever it is, health itself is answered
            return LiveStreams("process", {})
        tenant_id = caller.tenant_id if caller else DEFAULT_TENANT
        try:
            count = await sse.subscriber_count(tenant_id, scope="site")
            return LiveStreams("site", {tenant_id: count})
        except Unavailable:
            count = await sse.subscriber_count(tenant_id)
            return LiveStreams("process", {tenant_id: count})

    @bp.get("/healthz")
    @validate_response(Alive)
    async def alive() -> Alive:
        return Alive()

    @bp.get("/readyz")
    @validate_response(Ready, 200)
    @validate_response(Ready, 503)
    async def ready() -> tuple[Ready, int]:
        if sse.hub.draining:
            return Ready("draining", {}), 503
        answers = await ask(checks)
        failed = {name for name, answer in answers.items() if answer != "ok"}
        if failed & VITAL:
            return Ready("unavailable", answers), 503
        return Ready("degraded" if failed else "ready", answers), 200

    @bp.get("/metrics")
    async def exposition() -> Response:
        return Response(metrics.exposition(), content_type=CONTENT_TYPE_LATEST)

    return bp


async def ask(checks: Checks) -> dict[str, str]:
    """What each of them says: `ok`, or what is wrong."""
    return dict(zip(checks, await asyncio.gather(*map(_ask, checks.values())), strict=True))


async def _ask(check: Callable[[], Awaitable[None]]) -> str:
    try:
        async with asyncio.timeout(CHECK_S):
            await check()
    except Unavailable as error:
        return error.code
    except TimeoutError:
        return "no answer"
    return "ok"
