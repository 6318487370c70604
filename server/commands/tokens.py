"""The commands for API tokens and displays: create-token, list-tokens, revoke-token."""

from __future__ import annotations

import argparse
import re

from server.auth.tokens import LIFE_MAX_S, NewToken, link_path, state_of
from server.commands.admin import console
from server.commands.arguments import add_tenant, tenant
from server.commands.command import CliCommand, Openers, UsageError
from server.config.config import ServerConfig
from server.processes.run import say
from server.services.firestore.models import ApiToken, utc_text

HEAD = "NAME", "ROLE", "TENANT", "KIND", "STATE", "EXPIRES", "LAST USE", "ZONES"
UNITS_S = {"m": 60, "h": 3600, "d": 86_400}


def _create_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name")
    parser.add_argument("--role", choices=("read-only", "operator"), default="read-only")
    add_tenant(parser)
    parser.add_argument("--zones", nargs="+", default=(), metavar="ZONE", help="see only these")
    parser.add_argument(
        "--expires",
        type=_life_s,
        metavar="TIME",
        help="such as 90d, 12h or 30m; without it the token is valid until it is revoked",
    )
    parser.add_argument(
        "--display", action="store_true", help="make the link of a read-only wall screen"
    )


def _life_s(text: str) -> int:
    """A time such as 90d in seconds. Raises ArgumentTypeError."""
    found = re.fullmatch(r"([0-9]{1,9})([mhd])", text)
    life_s = int(found[1]) * UNITS_S[found[2]] if found else 0
    if not 0 < life_s <= LIFE_MAX_S:
        raise argparse.ArgumentTypeError("a number and m, h or d, such as 90d; at most 3650d")
    return life_s


async def _create(options: argparse.Namespace, config: ServerConfig, openers: Openers) -> int:
    if options.display and options.role != "read-only":
        raise UsageError("create-token: a display is read-only")
    role, zones = options.role, tuple(options.zones)
    new = NewToken(options.name, role, zones, options.expires, options.display)
    async with openers.base(config) as base:
        token, secret = await base.auth.tokens.create(console(), options.tenant, new)
    if options.display:
        say(f"link of display {token.name} (tenant {token.tenant_id}), shown only now:")
        say(f"http://SERVER:{config.port}{link_path(secret)}")
        say("open it on the screen within a day, with the address that the screen shall use")
    else:
        say(f"token {token.name} ({token.role}, tenant {token.tenant_id}), shown only now:")
        say(secret)
    return 0


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tenant", type=tenant, help="only this tenant's")


async def _list(options: argparse.Namespace, config: ServerConfig, openers: Openers) -> int:
    async with openers.base(config) as base:
        say("\t".join(HEAD))
        for token in await base.auth.tokens.listed(options.tenant):
            say(_line(token, base.site_clock.now_ms()))
    return 0


def _line(token: ApiToken, now_ms: int) -> str:
    kind = "token" if token.kind == "api" else "display"
    ends = utc_text(token.expires_at) if token.expires_at else "never"
    used = utc_text(token.last_used) if token.last_used else "never"
    about = token.name, token.role, token.tenant_id, kind, state_of(token, now_ms), ends, used
    return "\t".join((*about, " ".join(token.zones) or "all"))


def _revoke_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name")
    add_tenant(parser)


async def _revoke(options: argparse.Namespace, config: ServerConfig, openers: Openers) -> int:
    async with openers.base(config) as base:
        token = await base.auth.tokens.revoke(console(), options.tenant, options.name)
        say(f"revoked {token.name} (tenant {token.tenant_id}): it ends within 5 s everywhere")
    return 0


COMMANDS = (
    CliCommand(
        "create-token",
        "make a token for a program, or the link of a wall screen",
        _create_arguments,
        _create,
    ),
    CliCommand("list-tokens", "list the tokens and displays", _list_arguments, _list),
    CliCommand("revoke-token", "revoke a token or a display", _revoke_arguments, _revoke),
)
