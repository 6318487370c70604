"""Fixtures of the browser tests: one Chromium, one server with users, and a desk per test."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from tests.conftest import PASSWORD
from tests.e2e.desk import Desk
from tools.process import ServerProcess, run_command

CHROMIUM = shutil.which("chromium")
# The same Chromium without windows and back/forward cache. Windows take a third to a half of the
# processor time of these tests, although nobody sees them.
SHELL = shutil.which("chromium-headless-shell") or CHROMIUM
REQUIRED = bool(os.environ.get("CI") or os.environ.get("BAS_TEST_REQUIRE"))
MISSING = "NO BROWSER TESTS: there is no chromium here (Debian: apt-get install chromium)"
ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A name that is not localhost, to which Chromium gives what it gives to https only.
    "--host-resolver-rules=MAP bas.local 127.0.0.1",
]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report once, in red, that the browser tests were skipped."""
    skipped = terminalreporter.stats.get("skipped", [])
    if any(MISSING in str(report.longrepr) for report in skipped):
        terminalreporter.write_line(MISSING, red=True, bold=True)


@asynccontextmanager
async def launched(program: str | None = SHELL, **options: Any) -> AsyncIterator[Browser]:
    """Debian's Chromium, driven by Playwright."""
    if program is None:
        if REQUIRED:
            pytest.fail(MISSING, pytrace=False)
        pytest.skip(MISSING)
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(
            executable_path=program, args=ARGUMENTS, **options
        )
        yield chromium
        await chromium.close()


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def browser() -> AsyncIterator[Browser]:
    """The browser of all tests, except those of its back/forward cache."""
    async with launched() as chromium:
        yield chromium


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def remembering_browser() -> AsyncIterator[Browser]:
    """A browser with a back/forward cache, which Playwright turns off by default."""
    options = {"ignore_default_args": ["--disable-back-forward-cache"]}
    async with launched(CHROMIUM, **options) as chromium:
        yield chromium


@pytest_asyncio.fixture(loop_scope="session")
async def desk(browser: Browser) -> AsyncIterator[Desk]:
    """Windows for one test, which fails if a page breaks the security policy or logs an error."""
    desk = Desk(browser)
    yield desk
    await desk.close()
    assert desk.complaints == [], desk.refusals


@pytest.fixture(scope="session")
def site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that all tests share, with users of two roles."""
    data_dir = tmp_path_factory.mktemp("site")
    for name, role in (
        ("reader", "read-only"),
        ("operator", "operator"),
        ("second", "operator"),
        ("locked", "operator"),
    ):
        created = run_command(
            "create-user",
            name,
            "--role",
            role,
            "--password-stdin",
            data_dir=data_dir,
            stdin=PASSWORD,
        )
        assert created.returncode == 0, created.stderr
    with ServerProcess(data_dir, BAS_MAX_CONCURRENT_SESSIONS="100") as server:
        yield server.url
        server.terminate()


@pytest.fixture
def own_server(desk: Desk, tmp_path: Path) -> ServerProcess:
    """A server for one test, which may stop it; a heartbeat every second, and the user `admin`."""
    return desk.serve(tmp_path / "data", BAS_SSE_HEARTBEAT_S="1")
