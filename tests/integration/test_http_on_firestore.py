"""The whole HTTP suite once more, with every store in Firestore."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from tests.conftest import ON_FIRESTORE
from tests.support.firestore import FirestoreEmulator
from tests.support.process import REPOSITORY

SUITE = ("tests/unit/routes", "tests/unit/auth", "tests/unit/control", "tests/unit/adapters")
SUITE_S = 1200


def test_the_http_suite_holds_on_firestore(firestore: FirestoreEmulator) -> None:
    options = ("-q", "-p", "no:cacheprovider", "-m", "not sqlite_only")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *SUITE],
        cwd=REPOSITORY,
        env=os.environ | {ON_FIRESTORE: firestore.host},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SUITE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert not re.search(r"\d+ skipped", done.stdout), done.stdout
