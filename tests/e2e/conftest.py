"""Fixtures of the browser tests: one Chromium, one server with users, a desk for each test."""

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
from tests.support.process import ServerProcess, run_command

CHROMIUM = shutil.which("chromium")
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
]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once, and so that it is seen, that these tests did not run."""
    skipped = terminalreporter.stats.get("skipped", [])
    if any(MISSING in str(report.longrepr) for report in skipped):
        terminalreporter.write_line(MISSING, red=True, bold=True)


@asynccontextmanager
async def launched(**options: Any) -> AsyncIterator[Browser]:
    """Debian's Chromium, driven by Playwright."""
    if CHROMIUM is None:
        if REQUIRED:
            pytest.fail(MISSING, pytrace=False)
        pytest.skip(MISSING)
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=ARGUMENTS, **options
        )
        yield chromium
        await chromium.close()


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def browser() -> AsyncIterator[Browser]:
    """The browser of all tests but those of its memory."""
    async with launched() as chromium:
        yield chromium


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def remembering_browser() -> AsyncIterator[Browser]:
    """One that keeps pages in its memory, as people's do: Playwright turns that off."""
    async with launched(ignore_default_args=["--disable-back-forward-cache"]) as chromium:
        yield chromium


@pytest_asyncio.fixture(loop_scope="session")
async def desk(browser: Browser) -> AsyncIterator[Desk]:
    """Windows for one test. Fails it if a page broke the security policy or wrote an error."""
    desk = Desk(browser)
    yield desk
    await desk.close()
    assert desk.complaints == []


@pytest.fixture(scope="session")
def site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that all tests share, with a user of each role."""
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
    """A server for a test that stops it; it beats every second. Its user is admin."""
    return desk.serve(tmp_path / "data", BAS_SSE_HEARTBEAT_S="1")
