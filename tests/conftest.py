"""Fixtures that every test may use: a configuration, a clock, a container, Redis, Firestore."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from bas_server import Container, open_container
from server.common import tracebacks
from server.common.seldom import Seldom
from server.config.config import ServerConfig
from server.container import Base
from server.http import error_answers
from tests.support.clock import ManualClock
from tests.support.collecting import keep_what_is_there
from tests.support.dealing import Dealing, begin_long_ones
from tests.support.firestore import SHORT_LIVED, SharedEmulator, need_firestore, on_firestore
from tests.support.forms import is_long
from tests.support.hashing import install as hash_cheaply
from tests.support.made_once import lay
from tests.support.parsing import install as parse_undisturbed
from tests.support.patience import install as wait_patiently
from tests.support.redis import need_redis
from tests.support.routing import install as compile_rules_once
from tests.support.site_clock import install as measure_once
from tests.support.started_once import install as start_cheaply
from tools.firestore_emulator import SWITCHES, FirestoreEmulator
from tools.redis_server import RedisServer

parse_undisturbed()
compile_rules_once()
start_cheaply()
hash_cheaply()
measure_once()
wait_patiently()
# A deadline would fail examples whenever the machine is busy.
# On a busy machine drawing an example takes long, which says nothing about the code.
settings.register_profile("bas", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bas")

PASSWORD = "correct horse"
# The environment variable that puts every store on Firestore: host:port of its emulator.
ON_FIRESTORE = "BAS_TEST_FIRESTORE"
SHOWN = "shown"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Dealing | None:
    """Use `Dealing` in a run with several processes (`-n`) that names no scheduler (`--dist`)."""
    return Dealing(config, log) if config.getvalue("dist") == "load" else None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """In the run of those that are alone import only what has some."""
    if config.option.markexpr != "alone" or not collection_path.name.startswith("test_"):
        return None
    return "pytest.mark.alone" not in collection_path.read_text() or None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In several processes begin with the long tests. On Firestore, deselect the tests that
    use no store and, in its short form, all but the first one of each file."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        begin_long_ones(items)
    if ON_FIRESTORE not in os.environ:
        return
    kept: dict[str, pytest.Item] = {}
    for item in items:
        if item.get_closest_marker("drill_on_firestore") and not is_long():
            continue
        if "config" in getattr(item, "fixturenames", ()):
            kept.setdefault(item.nodeid if is_long() else item.nodeid.partition("::")[0], item)
    chosen = set(kept.values())
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = kept.values()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Name a failure when it happens: a run that is ended early has no summary."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        reason = getattr(getattr(report.longrepr, "reprcrash", None), "message", "")
        print(f"\nFAILED {report.nodeid} ({report.when}): {reason[:200]}", flush=True)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show at the end what the tools of others said of the server; see `show`."""
    for report in terminalreporter.stats.get("passed", ()):
        for name, text in report.user_properties:
            if name == SHOWN and report.when == "call":
                terminalreporter.write_line(
                    f"{report.nodeid.rpartition('::')[2]}:\n{text.rstrip()}"
                )


@pytest.fixture
def show(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Shows a text at the end of the run, also of a run in several processes."""
    return partial(record_property, SHOWN)


def pytest_collection_finish() -> None:
    """From here on only objects of tests come and go."""
    keep_what_is_there()


@pytest.fixture(autouse=True)
def fresh_log_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test leaves out a line because an earlier one has caused it."""
    monkeypatch.setattr(tracebacks, "_seldom", Seldom())
    monkeypatch.setattr(error_answers, "_unavailable", Seldom())


@pytest.fixture
def config(tmp_path: Path) -> ServerConfig:
    """The default settings with an empty data folder; in a run on Firestore, an empty project.

    One address may post as much as it wants: the clock of most tests stands still.
    """
    settings = ServerConfig(
        data_dir=tmp_path / "data", new_zones_per_hour=20_000, posts_per_second=1_000_000
    )
    if host := os.environ.get(ON_FIRESTORE):
        return on_firestore(settings, host, *SWITCHES)
    return settings


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still until the test advances it."""
    return ManualClock()


@pytest.fixture
async def container(config: ServerConfig, clock: ManualClock) -> AsyncIterator[Container]:
    """The whole server without its socket; it has an account per role and one of another tenant."""
    await lay(config, clock, _make_accounts)
    async with open_container(config, clock) as opened:
        if not await opened.base.stores.users.any():
            await _make_accounts(opened.base)
        yield opened


async def _make_accounts(base: Base) -> None:
    """The accounts, without a trace of their making in the audit."""
    password_hash = await base.auth.passwords.hash(PASSWORD)
    for name, role, tenant in (
        ("reader", "read-only", "default"),
        ("operator", "operator", "default"),
        ("admin", "admin", "default"),
        ("stranger", "admin", "elsewhere"),
    ):
        await base.stores.users.create_user(name, password_hash, role, tenant)


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A running Redis that only this test uses."""
    need_redis()
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def firestore(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FirestoreEmulator]:
    """The running Firestore emulator that all tests share; each test uses a new project."""
    need_firestore()
    own = tmp_path_factory.getbasetemp()
    with SharedEmulator(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) as emulator:
        yield emulator


@pytest.fixture
def emulator() -> Iterator[FirestoreEmulator]:
    """A Firestore emulator of this test's own, to be stopped and killed."""
    need_firestore()
    with FirestoreEmulator(SHORT_LIVED) as one:
        yield one
