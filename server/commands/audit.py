"""The command verify-audit: checks the hash chains of the audit log."""

from __future__ import annotations

import argparse

from server.commands.arguments import tenant
from server.commands.command import CliCommand, Openers
from server.commands.meter import Meter
from server.config.config import ServerConfig
from server.container import Base
from server.processes.run import say
from server.services.firestore.audit_chain import ENTRIES
from server.services.firestore.audit_check import ChainCheck, tenants, tenants_of_entries
from server.services.firestore.models import utc_text
from server.services.ports.documents import Query

BROKEN = 1
# The characters of a hash that are printed: enough to compare it with a note of it.
HASH_DIGITS = 16


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tenant", type=tenant, help="check only this tenant's entries")


async def _run(options: argparse.Namespace, config: ServerConfig, openers: Openers) -> int:
    async with openers.base(config) as base:
        return await verify_audit(base, options.tenant)


async def verify_audit(base: Base, only: str | None) -> int:
    """Check the chains of all tenants, or of one; print what is found, and return the exit code."""
    meter = Meter(base.clock)
    total = (await base.client.aggregate(Query(ENTRIES))).count
    wanted = {only} if only is not None else await tenants(base.client)
    checks = [await _checked(base, one, meter, total) for one in sorted(wanted)]
    if only is None and sum(check.seen for check in checks) < total:
        # Some entries belong to a tenant without a chain, or are no entries at all.
        more = await tenants_of_entries(base.client) - wanted
        checks += [await _checked(base, one, meter, total) for one in sorted(more)]
    if not checks:
        say("the audit log is empty")
    return BROKEN if any(check.broken for check in checks) else 0


async def _checked(base: Base, tenant_id: str, meter: Meter, total: int) -> ChainCheck:
    check = ChainCheck(base.client, base.clock, tenant_id)
    async for seen in check.run():
        meter.show(f"tenant {tenant_id}", seen, total)
    meter.clear()
    _report(check, base.clock.now_ms())
    return check


def _report(check: ChainCheck, now_ms: int) -> None:
    name = f"tenant {check.tenant_id}"
    say(f"{name}: {check.linked} entries are linked, {check.waiting} not yet")
    if check.first > 1:
        say(f"{name}: numbers before {check.first} were deleted when they had expired")
    if check.late:
        say(
            f"{name}: {check.late} were linked more than an hour after their time (imported, of an"
            f" earlier version, or stored while no server ran); the oldest is {check.late_example}"
        )
    if check.last:
        say(
            f"{name}: at {utc_text(now_ms)} the last is number {check.last}, hash"
            f" {check.last_hash[:HASH_DIGITS]}"
        )
    if check.broken is not None:
        number, entry_id, why, about = check.broken
        where = " ".join(
            part
            for part in (
                f"at number {number}" if number else "",
                f"entry {entry_id!r}" if entry_id else "",
                f"({about!r})" if about else "",
            )
            if part
        )
        say(f"{name}: BROKEN first {where}: {why}")


COMMANDS = (
    CliCommand(
        "verify-audit",
        "check that no audit entry was changed, deleted or inserted",
        _arguments,
        _run,
        "Checks the hash chain over each tenant's audit entries and names the first place that is"
        " broken; the exit code is 1 then. It only reads, and the server may be running.",
    ),
)
