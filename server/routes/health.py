"""Routes for operators and their tools: /api/health, /healthz, /readyz, /metrics."""

from __future__ import annotations

from quart import Blueprint, Response, request
from quart_schema import validate_response

from server.auth.guard import Guard
from server.auth.principal import DEFAULT_TENANT
from server.common.addresses import is_loopback
from server.common.bearer import bearer
from server.common.clock import Clock
from server.common.errors import BasError, Forbidden, Unavailable
from server.common.metrics import Metrics
from server.common.metrics_text import CONTENT_TYPE
from server.common.shared_check import Checks, ask
from server.config.config import ServerConfig
from server.routes.models import Alive, FirestoreHealth, Health, LiveStreams, Ready
from server.routes.zone_metrics import is_token
from server.services.sse_service.service import SSEService

# Without these checks no reading is stored or answered. A server that lacks others still serves: if
# it were unavailable, a proxy would take all processes out of service at once.
VITAL = {"store"}
STORES = {"store", "audit"}


def blueprint(
    config: ServerConfig,
    checks: Checks,
    sse: SSEService,
    guard: Guard,
    metrics: Metrics,
    clock: Clock,
) -> Blueprint:
    """Public routes; they report only on the caller's tenant."""
    bp = Blueprint("health", __name__)
    metrics.processes_wanted.set(config.processes)

    @bp.get("/api/health")
    @validate_response(Health)
    async def health() -> Health:
        services = {"auth": config.auth_on, "firestore": config.uses_firestore}
        answer = Health(
            "healthy", clock.now_ms() // 1000, services, await _live_streams(sse, guard)
        )
        if config.uses_firestore:
            stores = {name: checks[name] for name in checks if name in STORES}
            failed = [found.code for found in (await ask(stores)).values() if found is not None]
            answer.firestore = FirestoreHealth(failed[0] if failed else "healthy")
        return answer

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
        found = await ask(checks)
        failed = {name: error for name, error in found.items() if error is not None}
        answers = {name: "ok" if error is None else error.code for name, error in found.items()}
        reasons = {name: error.message or error.error for name, error in failed.items()}
        if VITAL & failed.keys():
            return Ready("unavailable", answers, reasons), 503
        return Ready("degraded" if failed else "ready", answers, reasons), 200

    @bp.get("/metrics")
    async def exposition() -> Response:
        sent = bearer(request.headers.get("Authorization", ""))
        is_allowed = config.metrics != "off" and (
            config.metrics == "open"
            or (config.metrics == "local" and _is_local())
            or is_token(sent, config.metrics_token)
            or await guard.token_caller() is not None
        )
        if not is_allowed:
            raise Forbidden(
                "Metrics are closed", "METRICS_CLOSED", f"BAS_METRICS is {config.metrics}"
            )
        return Response(metrics.exposition(), content_type=CONTENT_TYPE)

    return bp


def _is_local() -> bool:
    """Whether a program on this machine asks, and no proxy on it for somebody else."""
    return is_loopback(request.remote_addr or "") and "X-Forwarded-For" not in request.headers


async def _live_streams(sse: SSEService, guard: Guard) -> LiveStreams:
    """The number of the tenant's streams, at the whole site if that is known."""
    try:
        caller = await guard.principal_if_any()
    except BasError:  # health is answered even to a refused caller
        return LiveStreams("process", {})
    tenant_id = caller.tenant_id if caller else DEFAULT_TENANT
    try:
        count = await sse.subscriber_count(tenant_id, scope="site")
        return LiveStreams("site", {tenant_id: count})
    except Unavailable:
        count = await sse.subscriber_count(tenant_id)
        return LiveStreams("process", {tenant_id: count})
