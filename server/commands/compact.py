"""The command compact: packs readings now, and gives room back to the disk."""

from __future__ import annotations

import argparse
import re
from collections import Counter

from server.commands.audited import audit_command
from server.commands.command import CliCommand, Openers
from server.commands.meter import Meter
from server.common.clock import SystemClock
from server.config.config import ServerConfig
from server.processes.run import say
from server.services.ports.readings import Compaction

MS = {"": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def age_ms(text: str) -> int:
    """An age such as 90m, 1h or 2d in milliseconds; 0 needs no unit."""
    found = re.fullmatch(r"([0-9]{1,9})([smhd]?)", text)
    if not found or (not found[2] and int(found[1])):
        raise argparse.ArgumentTypeError("a number with s, m, h or d behind it, such as 90m; or 0")
    return int(found[1]) * MS[found[2]]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--older-than",
        type=age_ms,
        default="1h",
        metavar="AGE",
        help="pack what is so old: 90m, 1h, 2d; 0 packs everything (default: 1h)",
    )
    parser.add_argument(
        "--vacuum",
        action="store_true",
        help="then give unused room back to the disk. For a file of a version without packing"
        " that takes twice its room for a while, and nothing can be stored while it runs",
    )


async def _run(options: argparse.Namespace, config: ServerConfig, openers: Openers) -> int:
    if not config.database.exists():
        raise FileNotFoundError(f"nothing to pack: {config.database} is not there")
    async with openers.base(config) as base:
        code = await compact(base.compaction, options.older_than, options.vacuum)
        await audit_command(
            base.stores.audit,
            "READINGS_PACKED",
            {"older_than_ms": options.older_than, "vacuum": options.vacuum},
        )
    return code


async def compact(compaction: Compaction, older_ms: int, vacuum: bool) -> int:
    """Pack all readings of this age, and print how many; return the exit code.

    Raises OSError if `vacuum` finds too little room on the disk.
    """
    meter, total = Meter(SystemClock()), await compaction.unpacked()
    done: Counter[str] = Counter()
    async for step in compaction.pack(older_ms):
        done[step.what] += step.readings
        meter.show(step.what, min(done[step.what], total), total)
    meter.clear()
    left = await compaction.unpacked()
    others = done["packed by another process"]
    by_others = f", and another process {others}" if others else ""
    say(f"packed {done['packed']} readings{by_others}; {left} are not packed")
    if vacuum:
        async for pages, of in compaction.give_back():
            meter.show("giving room back, in pages", pages, of)
        meter.clear()
        say("the room of unused pages is given back to the disk")
    return 0


COMMANDS = (
    CliCommand(
        "compact",
        "pack readings in SQLite now, instead of bit by bit in the background",
        _arguments,
        _run,
        "Packs readings into compressed blocks, as a running server does by itself."
        " The server may be running.",
    ),
)
