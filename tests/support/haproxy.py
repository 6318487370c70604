"""Skips tests that need a real HAProxy where none is installed."""

from __future__ import annotations

import os

import pytest

from tools.haproxy import EXECUTABLE


def need_haproxy() -> None:
    """Skip the test where HAProxy is not installed; fail where that must not happen."""
    if EXECUTABLE is None:
        if os.environ.get("BAS_TEST_REQUIRE"):
            pytest.fail("haproxy is not installed: apt-get install haproxy brings it")
        pytest.skip("haproxy is not installed: the tests with a real HAProxy do not run")
