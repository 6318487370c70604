"""The version of this server, and the commit that it runs."""

from __future__ import annotations

from pathlib import Path

VERSION = "0.1.0"

SHOWN = 12


def revision(root: Path = Path(__file__).parents[2]) -> str:
    """The beginning of the commit's hash if the program is in a git checkout; else ""."""
    try:
        head = _text(root / ".git" / "HEAD")
        name = head.removeprefix("ref: ")
        if name == head:
            return head[:SHOWN]
        file = root / ".git" / name
        if file.exists():
            return _text(file)[:SHOWN]
        for line in _text(root / ".git" / "packed-refs").splitlines():
            digest, _, packed = line.partition(" ")
            if packed == name:
                return digest[:SHOWN]
    except (OSError, ValueError):
        pass  # no checkout, or one that this user cannot read
    return ""


def _text(file: Path) -> str:
    return file.read_text(encoding="ascii").strip()
