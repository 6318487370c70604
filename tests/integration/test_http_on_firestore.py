"""Runs the HTTP tests again with every store in Firestore.

The short form runs each test with the first of its parameters: most parameters are of requests that
are refused before any store is asked.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.conftest import ON_FIRESTORE
from tools.firestore_emulator import FirestoreEmulator
from tools.process import REPOSITORY

PARTS = ("routes", "auth", "security", "control", "sync_api")
SUITE_S = 1200


def passes(firestore: FirestoreEmulator, which: str, *parts: str) -> None:
    """Runs the tests of these folders on Firestore; AssertionError if one fails or is skipped."""
    options = ["-q", "-p", "no:cacheprovider", "-m", f"not sqlite_only and {which}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *(f"tests/component/{part}" for part in parts)],
        cwd=REPOSITORY,
        env=os.environ | {ON_FIRESTORE: firestore.host},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SUITE_S - 60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert not re.search(r"\d+ skipped", done.stdout), done.stdout


@pytest.mark.timeout(SUITE_S)
@pytest.mark.parametrize("part", PARTS)
def test_the_http_tests_pass_on_firestore(firestore: FirestoreEmulator, part: str) -> None:
    passes(firestore, "not alone", part)


@pytest.mark.timeout(SUITE_S)
@pytest.mark.alone
def test_the_http_tests_that_measure_pass_on_firestore(firestore: FirestoreEmulator) -> None:
    passes(firestore, "alone", *PARTS)
