"""Runs the HTTP tests again with every store in Firestore.

The short form runs the first test of each file: the contracts (tests/contracts) hold what a store
must do, so that this needs to show only that each part works on the other store at all.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.conftest import ON_FIRESTORE
from tests.support.forms import is_long
from tools.firestore_emulator import FirestoreEmulator
from tools.process import REPOSITORY

PARTS = ("routes", "auth", "security", "control", "sync_api")
SUITE_S = 1200
# The long form in several parts, so that several processes share it.
SHARES = [(part,) for part in PARTS] if is_long() else [PARTS]


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


@pytest.mark.long
@pytest.mark.timeout(SUITE_S)
@pytest.mark.parametrize("share", SHARES, ids="_".join)
def test_the_http_tests_pass_on_firestore(
    firestore: FirestoreEmulator, share: tuple[str, ...]
) -> None:
    passes(firestore, "not alone", *share)


@pytest.mark.skipif(not is_long(), reason="a drill: scripts/drills/stores.sh")
@pytest.mark.timeout(SUITE_S)
@pytest.mark.alone
def test_the_http_tests_that_measure_pass_on_firestore(firestore: FirestoreEmulator) -> None:
    passes(firestore, "alone", *PARTS)
