"""The command tenants: makes, lists and deletes tenants."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter

import msgspec

from server.auth.tenants import ListedTenant, TenantService
from server.commands.admin import console
from server.commands.arguments import tenant
from server.commands.command import CliCommand, Openers, UsageError
from server.commands.meter import Meter
from server.commands.one_at_a_time import alone, no_server
from server.common.clock import SystemClock
from server.config.config import ServerConfig
from server.processes.run import say
from server.services.firestore.cache.documents import LIFE_S
from server.services.firestore.routing import collections_on_firestore
from server.services.firestore.tenants_store import READINGS
from server.services.site.tenant_events import TenantEvents, tenant_events

HEAD = "TENANT", "USERS", "DEVICES", "ZONES", "READINGS"
ACTIONS = ("create", "list", "delete")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("name", nargs="?")
    parser.add_argument(
        "--yes",
        metavar="NAME",
        help="delete without a question: the name once more, for scripts",
    )


async def _run(options: argparse.Namespace, config: ServerConfig, openers: Openers) -> int:
    if (options.name is None) != (options.action == "list"):
        raise UsageError(
            f"tenants {options.action}: give {'a' if options.name is None else 'no'} name"
        )
    if options.yes is not None and options.action != "delete":
        raise UsageError("tenants: --yes belongs to delete")
    if options.action == "delete":
        return await _delete(options.name, options.yes, config, openers)
    async with openers.base(config) as base:
        if options.action == "list":
            return await _list(base.auth.tenants)
        await base.auth.tenants.create(console(), _checked(options.name))
        say(f"created tenant {options.name}; `create-user --tenant {options.name}` adds an account")
    return 0


def _checked(name: str) -> str:
    try:
        return tenant(name)
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"tenants: {error}") from None


async def _list(tenants: TenantService) -> int:
    say("\t".join(HEAD))
    async for one in tenants.all():
        unfinished = "\tits deletion is not finished: delete it again" if one.deleting else ""
        say(
            "\t".join((one.tenant_id, *map(str, msgspec.structs.astuple(one.figures)))) + unfinished
        )
    return 0


async def _delete(name: str, yes: str | None, config: ServerConfig, openers: Openers) -> int:
    """Delete a tenant, if no server runs and the operator says so twice.

    A server would store again what it has in memory, and knows devices by numbers that other
    devices may get. Raises OSError while one runs, or another copy.
    """
    if yes not in {None, name}:
        raise UsageError(f"tenants delete: --yes {yes} is another name than {name}")
    async with openers.base(config) as base, tenant_events(config.shared_redis_url) as events:
        with no_server(config.data_dir), alone(config.data_dir):
            await _no_server_on(events)
            found = await base.auth.tenants.to_delete(name)
            if yes is None and not _confirmed(found):
                say("nothing was deleted")
                return 1
            began = asyncio.get_running_loop().time()
            await _deleted(base.auth.tenants, found)
            if events is not None:
                await events.delete_history(name)
                if collections_on_firestore(config):
                    # A server that starts now must not admit the tenant's devices by cached keys.
                    await _cache_expires(began + max(LIFE_S.values()))
                await _no_server_on(events)
    return 0


def _confirmed(found: ListedTenant) -> bool:
    """Ask for the name, and then once more. Raises ValueError without a terminal."""
    if not sys.stdin.isatty():
        raise ValueError("no terminal to ask on: give --yes NAME")
    have = ", ".join(
        f"{count} {what}" for what, count in msgspec.structs.asdict(found.figures).items()
    )
    say(f"tenant {found.tenant_id} has {have}. All of it will be deleted, for ever.")
    if input("Type the tenant's name: ") != found.tenant_id:
        return False
    return input("Really delete it? Type yes: ") == "yes"


async def _deleted(tenants: TenantService, found: ListedTenant) -> None:
    meter, done = Meter(SystemClock()), Counter[str]()
    async for step in tenants.delete(console(), found.tenant_id):
        done[step.what] += step.number
        total = found.figures.readings if step.what == READINGS else done[step.what]
        meter.show(f"{step.what} deleted", done[step.what], total)
    meter.clear()
    counts = ", ".join(f"{count} {what}" for what, count in done.items())
    say(f"deleted tenant {found.tenant_id}: {counts or 'it had no data'}")


async def _cache_expires(until: float) -> None:
    left_s = until - asyncio.get_running_loop().time()
    if left_s > 0:
        say(f"waiting {left_s:.0f} s until nothing of it is cached in Redis")
        await asyncio.sleep(left_s)


async def _no_server_on(events: TenantEvents | None) -> None:
    if events is not None and (count := await events.servers()):
        raise OSError(
            f"{count} server processes use this Redis: stop them, and delete the tenant again"
        )


COMMANDS = (
    CliCommand(
        "tenants",
        "create, list or delete tenants",
        _arguments,
        _run,
        "Lists the tenants with their accounts, devices, zones and readings; creates one; or"
        " deletes one with all its data. Stop the server before a deletion. A deletion that was"
        " interrupted goes on when it is begun again.",
    ),
)
