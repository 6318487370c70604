"""The commands for devices and their keys."""

from __future__ import annotations

import argparse

from server.auth.key_service import KeptDevice, MadeKey
from server.commands.admin import console
from server.commands.arguments import add_tenant
from server.commands.command import CliCommand, Openers
from server.config.config import ServerConfig
from server.processes.run import say
from server.services.firestore.models import utc_text

HEAD = "DEVICE", "KEY", "LAST USE", "OLD KEY UNTIL"


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("device_id")
    add_tenant(parser)


async def _register(options: argparse.Namespace, config: ServerConfig, openers: Openers) -> int:
    async with openers.base(config) as base:
        key = await base.admin.register_device(options.tenant, options.device_id)
        _say_key(options, MadeKey(key))
    return 0


async def _rotate(options: argparse.Namespace, config: ServerConfig, openers: Openers) -> int:
    async with openers.base(config) as base:
        made = await base.admin.keys.rotate(console(), options.tenant, options.device_id)
        _say_key(options, made)
        if made.old_until_ms is not None:
            until = utc_text(made.old_until_ms)
            say(f"the old key is valid until the device uses the new one, at most until {until}")
    return 0


async def _revoke(options: argparse.Namespace, config: ServerConfig, openers: Openers) -> int:
    async with openers.base(config) as base:
        await base.admin.keys.revoke(console(), options.tenant, options.device_id)
        say(f"revoked the keys of {options.device_id}; `rotate-key` makes a new one")
    return 0


async def _delete(options: argparse.Namespace, config: ServerConfig, openers: Openers) -> int:
    async with openers.base(config) as base:
        await base.admin.keys.delete(console(), options.tenant, options.device_id)
        say(f"deleted device {options.device_id}, its keys and its zone; its readings stay")
    return 0


async def _list(options: argparse.Namespace, config: ServerConfig, openers: Openers) -> int:
    async with openers.base(config) as base:
        say("\t".join(HEAD))
        for one in await base.admin.keys.all(options.tenant):
            say("\t".join(_cells(one)))
    return 0


def _say_key(options: argparse.Namespace, made: MadeKey) -> None:
    say(f"key of {options.device_id} (tenant {options.tenant}), shown only now:\n{made.key}")


def _cells(one: KeptDevice) -> tuple[str, str, str, str]:
    state = "revoked" if one.device.key_revoked else "yes" if one.key else "no"
    used = utc_text(one.used_ms) if one.used_ms else "never" if one.key else "-"
    until = utc_text(one.old.until_ms) if one.old and one.old.until_ms else "-"
    return one.device.device_id, state, used, until


COMMANDS = (
    CliCommand("register-device", "make a key for a device", _arguments, _register),
    CliCommand("list-devices", "list a tenant's devices and their keys", add_tenant, _list),
    CliCommand(
        "rotate-key",
        "make a new key for a device",
        _arguments,
        _rotate,
        "Prints a new key once. The old key stays valid until the device uses the new one, at most"
        " for a day.",
    ),
    CliCommand(
        "revoke-key",
        "end the keys of a device",
        _arguments,
        _revoke,
        "Ends all keys of a device within 5 s. Its posts are refused until it has a new key.",
    ),
    CliCommand(
        "delete-device",
        "delete a device and its keys",
        _arguments,
        _delete,
        "Deletes a device, its keys and its zone with the setpoint. Its readings stay until they"
        " expire. To replace a broken device use rotate-key, which keeps the zone.",
    ),
)
