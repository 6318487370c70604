"""Loads the application of BAS_LEGACY_WSGI, by its module's name or by its file's path."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias, cast

log = logging.getLogger(__name__)

Wsgi: TypeAlias = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class LegacyAppError(ValueError):
    """The application named by BAS_LEGACY_WSGI cannot be used."""


def load(name: str) -> Wsgi:
    """Load the application `package.module:app` or `PATH/module.py:app`.

    Raises LegacyAppError for any failure.
    """
    module, _, attribute = name.rpartition(":")
    try:
        loaded = _of_file(module) if module.endswith(".py") else importlib.import_module(module)
        app = getattr(loaded, attribute)
    except (Exception, SystemExit) as error:
        log.error("BAS_LEGACY_WSGI=%s was not loaded", name, exc_info=error)
        raise LegacyAppError(
            f"BAS_LEGACY_WSGI={name} cannot be loaded ({type(error).__name__}: {error}): correct "
            "it, put its folder on PYTHONPATH, or unset it"
        ) from error
    if not callable(app):
        raise LegacyAppError(f"BAS_LEGACY_WSGI={name} is no WSGI application: it cannot be called")
    return cast(Wsgi, app)


def _of_file(text: str) -> ModuleType:
    """The module of a file, under its own name also where a module of this server has that name.

    Modules of its folder can be imported, behind all others; while it is loaded, its name means it.
    """
    path = Path(text).resolve()
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"{path} is not there")
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.append(folder)
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(path.stem)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    finally:
        if before is not None:
            sys.modules[path.stem] = before
    return module
