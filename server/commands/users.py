"""The commands for accounts: create-user, list-users, set-role, disable-user and others."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Coroutine
from typing import Any

from server.auth.accounts import Account
from server.commands.admin import Admin, console
from server.commands.arguments import add_password, add_tenant, password, tenant
from server.commands.command import CliCommand, Openers, no_arguments
from server.config.config import ServerConfig
from server.processes.run import say
from server.services.firestore.models import ROLES, utc_text

HEAD = "NAME", "ROLE", "TENANT", "STATE", "FAILURES", "LAST LOG-IN"


def _create_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name")
    parser.add_argument("--role", required=True, choices=ROLES)
    add_tenant(parser)
    add_password(parser)


async def _create(options: argparse.Namespace, config: ServerConfig, openers: Openers) -> int:
    async with openers.base(config) as base:
        chosen = password(options)
        await base.admin.create_user(options.name, chosen, options.role, options.tenant)
        say(f"created {options.name} ({options.role}, tenant {options.tenant})")
    return 0


def _password_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name")
    add_password(parser)


async def _set_password(options: argparse.Namespace, config: ServerConfig, openers: Openers) -> int:
    async with openers.base(config) as base:
        ended = await base.admin.set_password(options.name, password(options))
        say(f"password of {options.name} set; {ended} sessions ended")
    return 0


async def _list(_: argparse.Namespace, config: ServerConfig, openers: Openers) -> int:
    async with openers.base(config) as base:
        say("\t".join(HEAD))
        async for account in base.admin.accounts.everyone():
            say(_line(account))
    return 0


def _line(account: Account) -> str:
    user = account.user
    until = f" until {utc_text(account.locked_until)}" if account.state == "locked" else ""
    last = utc_text(user.last_login) if user.last_login else "never"
    state = f"{account.state}{until}"
    return "\t".join((user.username, user.role, user.tenant_id, state, f"{account.failures}", last))


def _name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name")


def _role_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name")
    parser.add_argument("role", choices=ROLES)


def _tenant_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name")
    parser.add_argument("tenant", type=tenant)


Work = Callable[[Admin, argparse.Namespace], Coroutine[Any, Any, str]]


async def _unlock(admin: Admin, options: argparse.Namespace) -> str:
    done = await admin.unlock_user(options.name)
    before = "was locked" if done.was_locked else "was not locked"
    said = f"{options.name} {before}; {done.failures} failed log-ins forgotten"
    if done.exists:
        return said
    return (
        f"{said}\nthere is no account {options.name}: a name that is none is locked like any other"
    )


async def _set_role(admin: Admin, options: argparse.Namespace) -> str:
    done = await admin.accounts.change(console(), options.name, {"role": options.role})
    return f"{options.name} is {options.role} now; {done.ended} sessions ended"


async def _set_tenant(admin: Admin, options: argparse.Namespace) -> str:
    done = await admin.accounts.change(console(), options.name, {"tenant_id": options.tenant})
    return f"{options.name} belongs to tenant {options.tenant} now; {done.ended} sessions ended"


async def _disable(admin: Admin, options: argparse.Namespace) -> str:
    done = await admin.accounts.change(console(), options.name, {"disabled": True})
    return f"{options.name} is disabled; {done.ended} sessions ended"


async def _enable(admin: Admin, options: argparse.Namespace) -> str:
    await admin.accounts.change(console(), options.name, {"disabled": False})
    return f"{options.name} is enabled"


async def _delete(admin: Admin, options: argparse.Namespace) -> str:
    ended = await admin.accounts.delete(console(), options.name)
    return f"deleted {options.name}; {ended} sessions ended"


async def _end_sessions(admin: Admin, options: argparse.Namespace) -> str:
    return f"{await admin.accounts.end_sessions(console(), options.name)} sessions ended"


def _simple(
    name: str,
    text: str,
    work: Work,
    arguments: Callable[[argparse.ArgumentParser], None] = _name,
) -> CliCommand:
    """A command that makes one change and says what it did."""

    async def run(options: argparse.Namespace, config: ServerConfig, openers: Openers) -> int:
        async with openers.base(config) as base:
            say(await work(base.admin, options))
        return 0

    return CliCommand(name, text, arguments, run)


COMMANDS = (
    CliCommand("create-user", "create an account", _create_arguments, _create),
    CliCommand("set-password", "set an account's password", _password_arguments, _set_password),
    CliCommand("list-users", "list the accounts and how they stand", no_arguments, _list),
    _simple("unlock-user", "end an account's lock", _unlock),
    _simple("set-role", "change an account's role", _set_role, _role_arguments),
    _simple("set-tenant", "move an account to another tenant", _set_tenant, _tenant_arguments),
    _simple("disable-user", "stop an account's log-ins and sessions", _disable),
    _simple("enable-user", "let a disabled account log in again", _enable),
    _simple("delete-user", "delete an account", _delete),
    _simple("end-sessions", "end all sessions of an account", _end_sessions),
)
