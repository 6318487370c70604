"""Skips tests that need a real Redis where none is installed."""

from __future__ import annotations

import os

import pytest

from tools.redis_server import EXECUTABLE


def need_redis() -> None:
    """Skip the test where Redis is not installed; fail where that must not happen."""
    if EXECUTABLE is None:
        if os.environ.get("CI") or os.environ.get("BAS_TEST_REQUIRE"):
            pytest.fail("redis-server is not installed: scripts/setup_emulators.sh start brings it")
        pytest.skip("redis-server is not installed: the tests with a real Redis do not run")
