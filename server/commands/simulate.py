"""The command simulate: posts readings of simulated zones until it is stopped."""

from __future__ import annotations

import argparse
import asyncio
import signal

from server.commands.command import CliCommand, Openers
from server.config.config import ServerConfig
from server.processes.run import DEMO_ZONES, say


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--zones", type=int, default=DEMO_ZONES, metavar="N")
    parser.add_argument("--url", default="http://127.0.0.1:8080")


async def _simulate(options: argparse.Namespace, _: ServerConfig, __: Openers) -> int:
    from server.simulator.fleet import Simulator  # only this command and --demo need it

    simulator = Simulator(options.url, zones=options.zones)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await simulator.run(stop)
    say(simulator.summary())
    return 0


COMMANDS = (CliCommand("simulate", "post readings of simulated zones", _arguments, _simulate),)
