"""The command verify-audit, on an SQLite file that is changed by hand, and beside a server.

OWASP ASVS 5.0, V16.4.2: logs are protected from unauthorized access and cannot be modified.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import pwd
import re
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from bas_server import open_base, open_both
from server.common.clock import SystemClock
from server.config.config import ServerConfig
from server.services.firestore.audit_check import ChainCheck
from server.services.firestore.audit_linker import AuditLinker
from server.services.ports.documents import Query
from tests.support.commands import Result, command, run
from tests.support.firestore import on_firestore
from tests.support.stream import caller, log_in
from tools.firestore_emulator import SWITCHES, FirestoreEmulator
from tools.process import ServerProcess, clean_environment

LINKED_S = 30.0
PASSWORD = "correct horse battery"


async def filled(config: ServerConfig, count: int = 8, tenant_id: str = "default") -> list[str]:
    """Store entries and link them; returns the ids in the order of their numbers."""
    async with open_base(config) as base:
        for number in range(count):
            assert await base.stores.audit.log_event(
                "SETPOINT_CHANGE",
                tenant_id=tenant_id,
                username="olga",
                address="192.0.2.1",
                details={"number": number},
            )
            await asyncio.sleep(0.002)
        (linker,) = (one for one in base.stores.upkeep if isinstance(one, AuditLinker))
        assert await linker.link_all()
        page = await base.client.query(Query("audit_log"), 1000)
        own = [one for one in page.documents if one.fields["tenant_id"] == tenant_id]
        return [one.id for one in sorted(own, key=lambda one: one.fields["link"])]


def by_hand(config: ServerConfig, sql: str, *values: object) -> None:
    with closing(sqlite3.connect(config.database)) as connection, connection:
        assert connection.execute(sql, values).rowcount == 1


def said(done: Result, code: int) -> str:
    assert (done.returncode, done.stderr) == (code, "")
    return done.stdout


@pytest.fixture
def config(tmp_path: Path) -> ServerConfig:
    return ServerConfig(data_dir=tmp_path)


def test_a_whole_log_is_in_order(config: ServerConfig) -> None:
    asyncio.run(filled(config))
    out = said(run(config, "verify-audit"), 0)
    assert "tenant default: 8 entries are linked, 0 not yet" in out
    assert re.search(r"the last is number 8, hash [0-9a-f]{16}", out)
    assert "BROKEN" not in out


def test_an_empty_store_is_in_order(config: ServerConfig) -> None:
    assert said(run(config, "verify-audit"), 0) == "the audit log is empty\n"


CHANGED = "UPDATE audit_log SET body = json_set(body, '$.details.number', 99) WHERE id = ?"
COPIED = "INSERT INTO audit_log SELECT 'copy', version, body FROM audit_log WHERE id = ?"
NEW = (
    "INSERT INTO audit_log SELECT 'new', 1, json_remove(body, '$.link', '$.chain')"
    " FROM audit_log WHERE id = ?"
)


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        (CHANGED, lambda doc_id: f"at number 5 entry '{doc_id}'"),
        ("DELETE FROM audit_log WHERE id = ?", lambda _: "at number 5: number 5 is missing"),
        (COPIED, lambda _: "at number 5 entry 'copy'"),
        (NEW, lambda _: "entry 'new'"),
    ],
    ids=["changed", "deleted", "copied", "inserted"],
)
def test_a_row_that_is_changed_by_hand_is_named(
    config: ServerConfig, sql: str, named: Callable[[str], str]
) -> None:
    ids = asyncio.run(filled(config))
    asyncio.run(filled(config, tenant_id="elsewhere"))
    by_hand(config, sql, ids[4])
    out = said(run(config, "verify-audit"), 1)
    assert named(ids[4]) in out, out
    assert out.count("BROKEN") == 1
    assert "tenant elsewhere: 8 entries are linked" in out
    assert said(run(config, "verify-audit", "--tenant", "elsewhere"), 0).count("tenant") == 2
    assert "BROKEN" in said(run(config, "verify-audit", "--tenant", "default"), 1)


async def test_what_a_running_server_stores_is_linked_within_seconds_and_checked_beside_it(
    config: ServerConfig,
) -> None:
    with ServerProcess(config.data_dir, BAS_AUTH_ENABLED="1") as server:
        await asyncio.to_thread(
            subprocess.run,
            command("create-user", "ada", "--role", "admin", "--password-stdin"),
            input=PASSWORD,
            text=True,
            check=True,
            capture_output=True,
            env=clean_environment(BAS_DATA_DIR=str(config.data_dir)),
        )
        session = await log_in(server.url, "ada", PASSWORD)
        async with asyncio.timeout(LINKED_S):
            while "0 not yet" not in said(await asyncio.to_thread(run, config, "verify-audit"), 0):
                pass
        async with caller(server.url, session) as client:
            page = (await client.get("/api/audit?action=USER_CREATED")).json()
    (who,) = [one["username"] for one in page["data"] if one["details"]["user"] == "ada"]
    assert who.endswith(f"{pwd.getpwuid(os.getuid()).pw_name}@command line")


async def test_a_log_on_firestore_is_checked(tmp_path: Path, firestore: FirestoreEmulator) -> None:
    config = on_firestore(ServerConfig(data_dir=tmp_path), firestore.host, *SWITCHES)
    await filled(config)
    out = said(await asyncio.to_thread(run, config, "verify-audit"), 0)
    assert "tenant default: 8 entries are linked, 0 not yet" in out


async def test_copies_between_stores_that_both_went_on_leave_one_chain(
    tmp_path: Path, firestore: FirestoreEmulator
) -> None:
    config = on_firestore(ServerConfig(data_dir=tmp_path), firestore.host)
    moved = dataclasses.replace(
        config,
        use_firestore_telemetry=True,
        use_firestore_auth=True,
        use_firestore_audit=True,
    )
    await filled(config)
    done = await asyncio.to_thread(
        run, config, "copy-store", "--from", "sqlite", "--to", "firestore"
    )
    assert done.returncode == 0, done.stderr
    await filled(moved, 3)
    await filled(config, 2)
    for source, target in (("sqlite", "firestore"), ("firestore", "sqlite")):
        arguments = ("copy-store", "--from", source, "--to", target)
        done = await asyncio.to_thread(run, config, *arguments)
        assert done.returncode == 0, done.stderr
        checked = moved if target == "firestore" else config
        await filled(checked, 1)
        async with open_both(config) as stores:
            check = ChainCheck(stores[target].documents, SystemClock(), "default")
            async for _ in check.run():
                pass
        assert (check.broken, check.waiting) == (None, 0)
