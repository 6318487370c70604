"""The command for device keys: register-device."""

from __future__ import annotations

import argparse

from server.commands.arguments import add_tenant
from server.commands.command import CliCommand, Openers
from server.config.config import ServerConfig
from server.processes.run import say


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("device_id")
    add_tenant(parser)


async def _register(options: argparse.Namespace, config: ServerConfig, openers: Openers) -> int:
    async with openers.base(config) as base:
        key = await base.admin.register_device(options.tenant, options.device_id)
        say(f"key of {options.device_id} (tenant {options.tenant}), shown only now:\n{key}")
    return 0


COMMANDS = (CliCommand("register-device", "make a key for a device", _arguments, _register),)
