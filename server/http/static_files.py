"""The files of the pages: each version of them has a folder of its own in URLs.

A browser keeps a file of `/static/VERSION/` for a year and never asks again. The pages name the
version, and are asked for each time, so no page mixes old and new modules after an update.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

IMMUTABLE = "public, max-age=31536000, immutable"
# Each use asks whether the file has changed.
ASKED_EACH_TIME = "no-cache"
DIGITS = 12


class StaticFiles:
    """The files in one folder; `version` is the beginning of the digest of all of them."""

    def __init__(self, folder: Path) -> None:
        digest = hashlib.sha256()
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                content = path.read_bytes()
                digest.update(f"{path.relative_to(folder)} {len(content)}\n".encode() + content)
        self.version = digest.hexdigest()[:DIGITS]

    def url(self, name: str) -> str:
        """The path by which a page names a file."""
        return f"/static/{self.version}/{name}"

    def found(self, path: str) -> tuple[str, str]:
        """The file that a path below /static/ names, and its Cache-Control.

        Another version's path names no file: what it once named is gone.
        """
        version, _, name = path.partition("/")
        return (name, IMMUTABLE) if version == self.version else (path, ASKED_EACH_TIME)
