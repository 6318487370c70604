#!/usr/bin/env bash
# An UPDATE of a JSON column writes each index on a value in it, also if that value stays the same; since SQLite 3.54
# only if it changed.
#
# Seen with: SQLite 3.53.0 and 3.54.1 (apsw 3.53.0.0 and 3.54.1.0 from PyPI), December 2026; 3.40.1 to 3.51.2 are as
#   3.53.0.
# Expected: an index on a part of a document that never changes (its owner, its kind) costs updates of the document
#   nothing.
# Seen: up to 3.53 each commit of one small update writes 2 pages instead of 1, with an index on `json_extract`, on
#   `->>`, or on a generated column. In 3.54 it is 1 page, but still 2 for a STORED generated column, and for a plain
#   column that SET gives the value that it has.
# Why it matters: with synchronous=FULL and one small commit after another the pages are what wears out a memory card: a
#   store of documents with one such index writes twice as much. Keep what is indexed and fixed in a plain column that
#   no UPDATE names.
# Exit code: 0 while this is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >program.py <<'PROGRAM'
import json
import os
import sys
import tempfile

import apsw

UPDATES, PAGE, FRAME_HEAD, WAL_HEAD = 10, 4096, 24, 32
GENERATED = ", owner TEXT AS (body ->> 'owner')"
# What the table has besides id and body, what is indexed, and what SET names.
CASES = {
    "no index": ("", "", "body = ?"),
    "json_extract": ("", "json_extract(body, '$.owner')", "body = ?"),
    "->>": ("", "body ->> 'owner'", "body = ?"),
    "virtual column": (GENERATED + " VIRTUAL", "owner", "body = ?"),
    "stored column": (GENERATED + " STORED", "owner", "body = ?"),
    "plain column": (", owner TEXT DEFAULT 'x'", "owner", "body = ?"),
    "plain column, set": (", owner TEXT DEFAULT 'x'", "owner", "body = ?, owner = 'x'"),
}


def document(number: int) -> str:
    return json.dumps({"owner": "x", "number": number, "filling": "y" * 300})


def pages(more: str, indexed: str, changed: str) -> float:
    """How many pages one update of one document writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "documents.db")
        run = apsw.Connection(path).execute
        run(f"PRAGMA page_size = {PAGE}").fetchall()
        run("PRAGMA journal_mode = WAL").fetchall()
        run("PRAGMA wal_autocheckpoint = 0").fetchall()
        run(f"CREATE TABLE documents (id INTEGER PRIMARY KEY, body TEXT{more})")
        if indexed:
            run(f"CREATE INDEX by_owner ON documents ({indexed})")
        run("BEGIN")
        for number in range(200):
            run("INSERT INTO documents (id, body) VALUES (?, ?)", (number, document(0)))
        run("COMMIT")
        run("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        for number in range(UPDATES):
            run(f"UPDATE documents SET {changed} WHERE id = 100", (document(1 + number),))
        return (os.path.getsize(path + "-wal") - WAL_HEAD) / (PAGE + FRAME_HEAD) / UPDATES


found = {name: pages(*case) for name, case in CASES.items()}
print(f"SQLite {apsw.sqlite_lib_version()}: {found}")
written = {"stored column", "plain column, set"}
if apsw.sqlite_lib_version().startswith("3.53."):
    written |= {"json_extract", "->>", "virtual column"}
sys.exit(0 if found == {name: 2.0 if name in written else 1.0 for name in CASES} else 1)
PROGRAM
for version in 3.53.0.0 3.54.1.0; do
    python3 -m venv "$version"
    "$version/bin/pip" install --quiet "apsw==$version"
    "$version/bin/python" program.py || {
        echo "changed"
        exit 1
    }
done
echo "as seen: unchanged indexes are written"
