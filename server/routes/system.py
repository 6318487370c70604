"""Route of what an admin wants to know of the server: /api/system."""

from __future__ import annotations

import asyncio

from msgspec import Struct
from quart import Blueprint
from quart_schema import validate_response

from server.auth.guard import Guard
from server.auth.principal import Principal
from server.common.clock import Clock
from server.common.disk_room import DiskRoom
from server.common.errors import Unavailable
from server.common.version import VERSION
from server.common.zone_name import zone_name
from server.config.config import ServerConfig
from server.config.open_doors import open_doors
from server.routes.requests import fails_with

# A disk that hangs must not hold up the answer.
DISK_S = 2.0


class SystemView(Struct):
    """The server as an admin sees it; times are Unix ms.

    `readings_in`, `accounts_in` and `audit_in` name the stores. `events_in` is `redis` if processes
    share their events, else `memory`. `disk_free_bytes` is null if the disk does not answer.
    `open_to_strangers` has a sentence for each thing that is open, with the setting that closes it.
    """

    version: str
    now: int
    time_zone: str
    processes: int
    readings_in: str
    accounts_in: str
    audit_in: str
    events_in: str
    data_folder: str
    disk_free_bytes: int | None
    tls: bool
    log_in: str
    device_keys: str
    open_to_strangers: list[str]


def blueprint(config: ServerConfig, guard: Guard, clock: Clock) -> Blueprint:
    """For admins: it names the machine's folders, and what is not closed."""
    bp = Blueprint("system", __name__)
    disk = DiskRoom(config.data_dir, 0)

    @bp.get("/api/system")
    @guard.require_auth("admin")
    @validate_response(SystemView)
    @fails_with(401, 403)
    async def system(principal: Principal) -> SystemView:
        try:
            free = await asyncio.wait_for(disk.free_bytes(), DISK_S)
        except (TimeoutError, Unavailable):
            free = None
        stores = {True: "firestore", False: "sqlite"}
        return SystemView(
            version=VERSION,
            now=clock.now_ms(),
            time_zone=zone_name(config.timezone),
            processes=config.processes,
            readings_in=stores[config.use_firestore_telemetry],
            accounts_in=stores[config.use_firestore_auth],
            audit_in=stores[config.use_firestore_audit],
            events_in="redis" if config.shared_redis_url else "memory",
            data_folder=str(config.data_dir),
            disk_free_bytes=free,
            tls=config.tls_on,
            log_in=config.auth_mode if config.auth_on else "disabled",
            device_keys=config.device_auth,
            open_to_strangers=list(open_doors(config, config.port)),
        )

    return bp
