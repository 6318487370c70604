"""The command for notice targets: notice-targets."""

from __future__ import annotations

import argparse

from server.alarms.notice_models import NoticeTarget
from server.alarms.notices_factory import NoticeParts, notice_parts
from server.auth.principal import DEFAULT_TENANT
from server.commands.admin import console
from server.commands.arguments import tenant
from server.commands.command import CliCommand, Openers
from server.config.config import ServerConfig
from server.container import Base
from server.processes.run import say
from server.services.site.ports import NoNotices

HEAD = "ID", "NAME", "TENANT", "KIND", "SEVERITY", "STATE", "HOURS", "TO"
FAILED = 1


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tenant", type=tenant, help="only this tenant's")
    parser.add_argument(
        "--test",
        metavar="ID",
        help="send a test notice to this target now; of the tenant default without --tenant",
    )


async def _run(options: argparse.Namespace, config: ServerConfig, openers: Openers) -> int:
    async with openers.base(config) as base:
        if options.test is not None:
            return await _test(base, options.tenant or DEFAULT_TENANT, options.test)
        targets = _parts(base).targets
        say("\t".join(HEAD))
        tenants = [options.tenant] if options.tenant else await base.stores.tenants.tenant_ids()
        for one in tenants:
            for target in await targets.targets_of(one):
                say(_line(target))
    return 0


async def _test(base: Base, tenant_id: str, target_id: str) -> int:
    actor = console()
    done = await _parts(base).targets.test(actor.name, actor.address, tenant_id, target_id)
    if done.delivered:
        say(f"the test notice to {target_id} arrived, after {done.took_ms} ms")
        return 0
    say(f"the test notice to {target_id} did not arrive: {done.error}")
    return FAILED


def _parts(base: Base) -> NoticeParts:
    return notice_parts(base.config, base.stores, NoNotices(), base.site_clock, base.metrics)


def _line(target: NoticeTarget) -> str:
    to = ", ".join(target.recipients) if target.kind == "email" else target.url
    hours = "always"
    if target.hours is not None:
        days = "".join(map(str, target.hours.days))
        hours = f"days {days} {target.hours.start}-{target.hours.end}"
    state = "enabled" if target.enabled else "disabled"
    about = target.target_id, target.name, target.tenant_id, target.kind, target.severity
    return "\t".join((*about, state, hours, to))


COMMANDS = (
    CliCommand("notice-targets", "list the targets of notices, or test one", _arguments, _run),
)
