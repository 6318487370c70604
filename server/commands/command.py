"""CliCommand: one command of bas_server.py, and the openers that a command may use."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from server.config.config import ServerConfig
from server.container import OpenBase, OpenBoth, OpenContainer
from server.services.ports.database_files import DatabaseFiles

if TYPE_CHECKING:
    from server.legacy.import_rows import LegacyRows


class LegacyOpener(Protocol):
    """Opens an existing server's database for reading."""

    def __call__(self, path: Path) -> AbstractContextManager[LegacyRows]: ...


class UsageError(ValueError):
    """The arguments contradict each other; the exit code is that of a wrong argument."""


@dataclass(frozen=True)
class Openers:
    """What bas_server.py passes on, since only it knows the concrete stores."""

    base: OpenBase
    container: OpenContainer
    both: OpenBoth
    legacy: LegacyOpener
    files: DatabaseFiles


@dataclass(frozen=True)
class CliCommand:
    """A command: its name and help, what adds its arguments, and what runs it.

    `run` gets the parsed arguments and returns the exit code. It raises BasError, OSError or
    ValueError with a text that is shown to the operator.
    """

    name: str
    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, ServerConfig, Openers], Coroutine[Any, Any, int]]
    description: str | None = None


def no_arguments(_: argparse.ArgumentParser) -> None:
    """For a command without arguments."""
