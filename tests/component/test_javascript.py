"""The tests of the pages' modules, which node runs: tests/js."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tools.process import REPOSITORY

NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_the_modules_of_the_pages_pass_their_own_tests() -> None:
    assert NODE is not None
    files = sorted(str(path) for path in (REPOSITORY / "tests" / "js").glob("*.test.js"))
    done = subprocess.run(
        [NODE, "--test", *files], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
