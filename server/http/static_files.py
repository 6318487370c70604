"""The files of the pages: each version of them has a folder of its own in URLs.

A browser keeps a file of `/static/VERSION/` for a year and never asks again. The pages name the
version, and are asked for each time, so no page mixes old and new modules after an update.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

IMMUTABLE = "public, max-age=31536000, immutable"
# Each use asks whether the file has changed.
ASKED_EACH_TIME = "no-cache"
DIGITS = 12
# What a module imports before it runs; not what it loads later, by `import("…")`.
IMPORTED = re.compile(rb'^import [^"(]*"\./([\w./-]+)";', re.MULTILINE)


class StaticFiles:
    """The files in one folder: `sizes` are their bytes by their paths.

    `version` is the beginning of the digest of all of them.
    """

    def __init__(self, folder: Path) -> None:
        digest = hashlib.sha256()
        self.sizes: dict[str, int] = {}
        self._imports: dict[str, tuple[str, ...]] = {}
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                content, name = path.read_bytes(), str(path.relative_to(folder))
                digest.update(f"{name} {len(content)}\n".encode() + content)
                self.sizes[name] = len(content)
                if path.parent == folder and path.suffix == ".js":
                    found = (one.decode() for one in IMPORTED.findall(content))
                    self._imports[sys.intern(name)] = tuple(map(sys.intern, found))
        self.version = digest.hexdigest()[:DIGITS]

    def imports(self, name: str) -> list[str]:
        """All modules that a module imports, and those that these import, nearest first.

        If a page names them, a browser asks for all at once, not for one depth after the other.
        """
        found: dict[str, None] = {}
        depth: tuple[str, ...] = (name,)
        while depth:
            named = [one for of in depth for one in self._imports.get(of, ())]
            depth = tuple(one for one in dict.fromkeys(named) if one not in found)
            found |= dict.fromkeys(depth)
        return list(found)

    def named(self, path: str) -> str | None:
        """The file that a page names by this path, as `url` makes it; None if there is none."""
        name = path.removeprefix(self.url(""))
        return name if name != path and name in self.sizes else None

    def url(self, name: str) -> str:
        """The path by which a page names a file."""
        return f"/static/{self.version}/{name}"

    def found(self, path: str) -> tuple[str, str]:
        """The file that a path below /static/ names, and its Cache-Control.

        Another version's path names no file: what it once named is gone.
        """
        version, _, name = path.partition("/")
        return (name, IMMUTABLE) if version == self.version else (path, ASKED_EACH_TIME)
