"""Delays the import of library modules that a server at rest does not use, to save memory."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

# Imported by the libraries for what a server without such requests never does. Only modules that
# their importers name as a whole (`import x`) are of use here: `from x import y` loads x at once.
LAZY = frozenset(
    {
        "code",  # Quart's shell
        "csv",  # package metadata
        "difflib",  # Werkzeug's guesses in development
        "h2.connection",  # HTTP/2, with HPACK's tables
        "html",  # entities
        "pdb",  # Click's test runner
        "priority",  # HTTP/2
        "zipfile",  # packages in archives
    }
)


class _LazyFinder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in LAZY:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def import_later() -> None:
    """Load the modules of LAZY when they are first used instead of when they are imported."""
    if not any(isinstance(finder, _LazyFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _LazyFinder())
