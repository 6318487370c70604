"""The command alarms: lists the open alarms, or all."""

from __future__ import annotations

import argparse

from server.alarms.alarms_store import AlarmsStore
from server.commands.arguments import tenant
from server.commands.command import CliCommand, Openers
from server.config.config import ServerConfig
from server.processes.run import say
from server.services.firestore.models import utc_text

PAGE = 500


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="also those that are over")
    parser.add_argument("--tenant", type=tenant, default="default", help="default: default")


async def _run(options: argparse.Namespace, config: ServerConfig, openers: Openers) -> int:
    async with openers.base(config) as base:
        store, cursor, count = AlarmsStore(base.client), None, 0
        state = None if options.all else "open"
        while True:
            found, cursor = await store.page_of_alarms(
                options.tenant, PAGE, state=state, cursor=cursor
            )
            for alarm in found:
                where = alarm.device_id or "(the site)"
                by = f" by {alarm.acknowledged_by}" if alarm.acknowledged_by else ""
                say(
                    f"{utc_text(alarm.since_ms)}  {alarm.severity:<8}  {alarm.kind:<18}  "
                    f"{alarm.state}{by}  {where!r}"
                )
            count += len(found)
            if cursor is None:
                break
        if not count:
            say("no alarms" if options.all else "no open alarms")
    return 0


COMMANDS = (
    CliCommand(
        "alarms",
        "list the open alarms of a tenant, the last changed first",
        _arguments,
        _run,
        "Lists alarms as they are stored. It only reads, and the server may be running.",
    ),
)
