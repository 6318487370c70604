#!/usr/bin/env bash
# pytest-xdist's groups do not keep tests in one process with pytest 9.
#
# Seen with: pytest-xdist 3.8.0 and pytest 9.2.0 from PyPI, CPython 3.11, November 2026.
# Expected: with --dist loadgroup all tests that are marked xdist_group("one") run in the same worker.
# Seen: they are dealt out to all workers, as without the mark; nothing warns.
# Why it matters: tests that share a browser, a port or a file through such a group then run beside each
#   other, and fail now and then. Deal the tests out by a scheduler of your own
#   (pytest_xdist_make_scheduler), or put them into one file and use --dist loadfile.
# Exit code: 0 while this is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pytest==9.2.0 pytest-xdist==3.8.0
cat >"$folder/test_group.py" <<'PROGRAM'
import pathlib
import time

import pytest

SEEN = pathlib.Path(__file__).with_name("seen")


@pytest.mark.parametrize("number", range(20))
@pytest.mark.xdist_group("one")
def test_one_of_the_group(number, worker_id):
    time.sleep(0.1)
    with SEEN.open("a") as file:
        file.write(worker_id + "\n")
PROGRAM
(cd "$folder" && "$folder/venv/bin/python" -m pytest -q -n 2 --dist loadgroup test_group.py)
workers=$(sort -u "$folder/seen" | wc -l)
echo "workers that ran the group: $workers"
[ "$workers" = 2 ] || {
    echo "This has changed: expected the tests of one group in two workers." >&2
    exit 1
}
