"""Keeps the position of an unfinished copy in a small file: a cursor for each collection."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import Annotated

import msgspec

from server.common.errors import Invalid
from server.services.ports.cursors import decode_cursor
from server.services.ports.documents import Query

log = logging.getLogger(__name__)


class CopyPosition(msgspec.Struct, frozen=True):
    """The cursor after which a copy continues, and the number of documents before it."""

    cursor: str
    seen: Annotated[int, msgspec.Meta(ge=0)]


_Pairs = dict[str, dict[str, CopyPosition]]
_decoder = msgspec.json.Decoder(_Pairs)


class CopyProgress:
    """The positions of copies from `source` to `target`; every store needs a different name.

    If the file is missing or damaged, a copy starts from the beginning, which is only slower.
    Raises OSError if the file cannot be written.
    """

    def __init__(self, path: Path, source: str, target: str) -> None:
        self._path = path
        self._pair = f"{source} > {target}"
        self._pairs = self._read()

    def of(self, collection: str) -> CopyPosition | None:
        """The position where the copy continues; None: at the beginning."""
        position = self._pairs.get(self._pair, {}).get(collection)
        if position is not None:
            try:
                decode_cursor(Query(collection), position.cursor)
            except Invalid:
                return None
        return position

    def keep(self, collection: str, position: CopyPosition) -> None:
        """Replace a collection's position."""
        self._pairs.setdefault(self._pair, {})[collection] = position
        self._write()

    def forget(self) -> None:
        """Drop all positions of this pair; without any position, the file is deleted."""
        if self._pairs.pop(self._pair, None) is not None:
            self._write()

    def _read(self) -> _Pairs:
        try:
            return _decoder.decode(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError, ValueError, RecursionError) as error:
            log.warning(
                "%s cannot be read, so the copy starts from the beginning: %s", self._path, error
            )
            return {}

    def _write(self) -> None:
        if not self._pairs:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()
            return
        new = self._path.with_name(f"{self._path.name}.new")
        new.write_bytes(msgspec.json.encode(self._pairs))
        os.replace(new, self._path)
