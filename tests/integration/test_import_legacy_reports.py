"""The output of import-legacy: its progress, the rows that it skipped and why, and errors."""

from __future__ import annotations

import asyncio
import pty
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bas_server import INDEXES, Base, open_base, open_both, open_container
from server.commands.main import main
from server.commands.one_at_a_time import alone
from server.config.config import ServerConfig
from server.legacy.database import LegacyDatabase
from server.services.firestore.models import DAY_MS
from server.services.ports.documents import Write
from server.services.ports.readings import NewRow
from server.services.sqlite.factory import SqliteFiles
from tests.support import legacy
from tests.support.commands import Result, command, refused, results, run, settings
from tests.support.firestore import on_firestore
from tools.firestore_emulator import FirestoreEmulator
from tools.process import clean_environment


@pytest.fixture
def config(tmp_path: Path) -> ServerConfig:
    return ServerConfig(data_dir=tmp_path / "data")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return tmp_path / "bas_telemetry.db"


def import_legacy(config: ServerConfig, path: Path) -> Result:
    return run(config, "import-legacy", str(path))


def test_an_import_counts_skipped_and_changed_rows_with_their_reasons(
    config: ServerConfig, old: Path
) -> None:
    now = int(time.time() * 1000)
    legacy.empty(old)
    users = [
        legacy.user("anna", "viewer"),
        legacy.user("a b"),
        legacy.user("dora", password_hash="123"),
    ]
    legacy.insert(old, "users", users)
    rows = [
        *(legacy.reading(123_456.0 + number) for number in range(3)),
        *(legacy.reading(float(now - 91 * DAY_MS)) for _ in range(2)),
        *(legacy.reading(float(now), temp_tenths=temp) for temp in (1251, 9999, None, "warm")),
        *(legacy.fault(now, temp_tenths=temp) for temp in (None, 0, 215, 9999)),
        *(legacy.reading(float(now), temp_tenths=temp) for temp in (235, 235.0, 235.4)),
        legacy.reading(float(now), sensor_ok=None),
    ]
    legacy.insert(old, "telemetry", rows)
    legacy.insert(old, "audit_log", [legacy.entry(now, details="{"), legacy.entry(now - 10**12)])
    assert results(import_legacy(config, old), code=3) == [
        "users: 3 rows; 1 of 1 there, 1 written now",
        "  1 not copied (not a valid user name: rename it on the existing server, or make it with"
        " create-user): row 2: 'a b'",
        "  1 not copied (the password's hash is not one of PBKDF2-SHA256): row 3: 'dora'",
        "  1 copied (of a role that is not known here: read-only now): anna",
        "telemetry: 17 rows; 12 of 12 there, 12 written now",
        "  3 not copied (without a date (a device's milliseconds since power-on, or no time at"
        " all)): such as row 1: 123456.0",
        "  2 not copied (over the time that they are kept for): such as row 4:"
        f" {now - 91 * DAY_MS}",
        "  4 copied (as faults: sensor_ok is 1, but temp_tenths is no number from -550 to 1250):"
        " such as row 6",
        "  1 copied (without their temperatures: temp_tenths is no number from -550 to 1250):"
        " row 13",
        "  1 copied (with their temperatures rounded: temp_tenths has a fraction): row 16",
        "  1 copied (as faults: sensor_ok is neither 0 nor 1): row 17",
        "  setpoint and deadband: 23.0 °C ± 1.0",
        "  relays of device unknown: cooler off, heat on",
        "audit_log: 2 rows; 1 of 1 there, 1 written now",
        "  1 not copied (without a date (a device's milliseconds since power-on, or no time at"
        f" all)): row 2: {now - 10**12}",
        "  1 copied (without their details, which are no JSON or too long): row 1",
    ]


@pytest.mark.parametrize("content", [None, b"", b"no database\n" * 100])
def test_an_import_of_a_file_that_is_not_a_database_fails_and_creates_nothing(
    config: ServerConfig, old: Path, content: bytes | None
) -> None:
    if content is not None:
        old.write_bytes(content)
    refused(import_legacy(config, old), str(old))
    assert not config.data_dir.exists()
    assert (old.read_bytes() if old.exists() else None) == content


async def test_an_import_refuses_a_database_of_the_new_server(
    config: ServerConfig, old: Path
) -> None:
    async with open_base(config):
        pass
    done = await asyncio.to_thread(import_legacy, config, config.database)
    refused(done, str(config.database), "not the existing server's database")


def test_an_import_on_a_terminal_shows_its_progress(config: ServerConfig, old: Path) -> None:
    legacy.filled(old, 1200, 0)
    leader, terminal = pty.openpty()
    done = subprocess.run(
        command("import-legacy", str(old)),
        stdout=terminal,
        env=clean_environment(**settings(config)),
        timeout=120,
        check=False,
    )
    assert done.returncode == 0
    with open(terminal, "wb"), open(leader, "rb", buffering=0) as screen:
        shown = screen.read(10_000).decode()
    for what in ("telemetry", "telemetry, checked"):
        assert "".join(f"{what}: {seen} of 1200\r" for seen in (500, 1000, 1200)) in shown
    assert "\x1b[Ktelemetry: 1200 rows; 1200 of 1200 there, 1200 written now" in shown


def import_with(config: ServerConfig, old: Path, opener: Any, monkeypatch: Any) -> int:
    """Run the command in this process with the stores of this opener."""
    for name, value in settings(config).items():
        monkeypatch.setenv(name, value)
    openers = opener, open_container, open_both, LegacyDatabase
    return main(["import-legacy", str(old)], *openers, SqliteFiles(INDEXES))


def test_an_import_without_a_terminal_prints_a_progress_line_at_intervals(
    config: ServerConfig,
    old: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    legacy.filled(old, 1200, 0)
    monkeypatch.setattr("server.commands.meter.SAY_EVERY_S", 0)
    assert import_with(config, old, open_base, monkeypatch) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[3:7] == [
        *(f"telemetry: {seen} of 1200" for seen in (500, 1000, 1200)),
        "telemetry, checked: 500 of 1200",
    ]


def test_an_import_with_missing_rows_ends_with_exit_code_1_and_reports_them(
    config: ServerConfig,
    old: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    legacy.filled(old, 1200, 10)

    @asynccontextmanager
    async def forgetful(config: ServerConfig) -> AsyncIterator[Base]:
        async with open_base(config) as base:
            history = base.stores.telemetry.history
            write = history.write

            async def lose_one(documents: Sequence[Write], rows: Sequence[NewRow]) -> list[str]:
                return await write(documents, rows[1:])

            monkeypatch.setattr(history, "write", lose_one)
            yield base

    assert import_with(config, old, forgetful, monkeypatch) == 1
    said = capsys.readouterr()
    assert "telemetry: 1200 rows; 1188 of 1200 there, 1200 written now" in said.out.splitlines()
    assert said.err.splitlines()[-1] == "bas_server.py: not complete, import again: telemetry"
    assert "telemetry: 1200 rows; 1200 of 1200 there, 12 written now" in results(
        import_legacy(config, old)
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("import-legacy", "bas_telemetry.db"),
        ("copy-store", "--from", "firestore", "--to", "sqlite"),
    ],
    ids=["import", "copy"],
)
def test_a_copy_or_import_beside_another_one_is_refused(
    config: ServerConfig, old: Path, firestore: FirestoreEmulator, arguments: tuple[str, ...]
) -> None:
    legacy.filled(old, 3, 0)
    config.data_dir.mkdir(exist_ok=True)
    config = on_firestore(config, firestore.host)
    arguments = tuple(f"{old}" if one == old.name else one for one in arguments)
    with alone(config.data_dir):
        refused(run(config, *arguments), "another copy or import", f"{config.data_dir}")
    assert run(config, *arguments).returncode == 0
