"""Where an unfinished copy stopped, in a small file: a cursor for each collection."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import Annotated

import msgspec

from server.errors import Invalid
from server.services.firestore.base import Query
from server.services.firestore.cursors import decode_cursor

log = logging.getLogger(__name__)


class Place(msgspec.Struct, frozen=True):
    """Behind which document a copy goes on, and how many documents lie before."""

    cursor: str
    seen: Annotated[int, msgspec.Meta(ge=0)]


_Pairs = dict[str, dict[str, Place]]
_decoder = msgspec.json.Decoder(_Pairs)


class Places:
    """The places of copies from `source` to `target`, whose names must tell any two stores apart.

    A file that is missing or damaged holds no places: then a copy begins anew, which is only
    slower. OSError when the file cannot be written.
    """

    def __init__(self, path: Path, source: str, target: str) -> None:
        self._path = path
        self._pair = f"{source} > {target}"
        self._pairs = self._read()

    def of(self, collection: str) -> Place | None:
        """Where to go on; None: at the start."""
        place = self._pairs.get(self._pair, {}).get(collection)
        if place is not None:
            try:
                decode_cursor(Query(collection), place.cursor)
            except Invalid:
                return None
        return place

    def keep(self, collection: str, place: Place) -> None:
        """Remember a place of a collection instead of the one before."""
        self._pairs.setdefault(self._pair, {})[collection] = place
        self._write()

    def forget(self) -> None:
        """Drop all places of this pair; the file goes with the last one."""
        if self._pairs.pop(self._pair, None) is not None:
            self._write()

    def _read(self) -> _Pairs:
        try:
            return _decoder.decode(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError, ValueError, RecursionError) as error:
            log.warning("%s cannot be read, so the copy begins anew: %s", self._path, error)
            return {}

    def _write(self) -> None:
        if not self._pairs:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()
            return
        new = self._path.with_name(f"{self._path.name}.new")
        new.write_bytes(msgspec.json.encode(self._pairs))
        os.replace(new, self._path)
