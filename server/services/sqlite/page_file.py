"""PageFile: the pages of a database file that may be damaged, with the commits in its -wal.

SQLite refuses a file whose first page or schema is damaged, and all that is behind a damaged page.
The layout is described in https://www.sqlite.org/fileformat2.html.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

MAGIC = b"SQLite format 3\0"
HEADER_BYTES = 100
USUAL_PAGE_SIZE = 4096
PAGE_SIZES = frozenset(1 << power for power in range(9, 17))
ENTRY_BYTES = 5
# Kinds of pages in the pointer map: a tree's root, a page on the free list, the first and further
# pages of a long row, and any other page of a tree.
ROOT, FREE, OVERFLOW, OVERFLOW_ON, TREE = range(1, 6)
WAL_MAGICS = {0x377F0682: "<", 0x377F0683: ">"}
WAL_HEADER_BYTES, FRAME_BYTES = 32, 24
PENDING_BYTE = 0x40000000


class PageFile:
    """Reads pages by their number, from 1 on. A context manager; nothing is written.

    A file with incremental vacuum, as this server makes them, has a map of each page's parent:
    what a damaged page led to is found by it.
    """

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("rb")
        self.length = path.stat().st_size
        head = self._file.read(HEADER_BYTES)
        wal = Path(f"{path}-wal")
        self._wal: BinaryIO | None = wal.open("rb") if wal.exists() else None
        size = struct.unpack(">H", head[16:18])[0] if len(head) == HEADER_BYTES else 0
        size = 65536 if size == 1 else size
        if head[:16] != MAGIC or size not in PAGE_SIZES:
            size = USUAL_PAGE_SIZE
        self.size = size
        self._frames, pages = self._committed() if self._wal else ({}, 0)
        self.count = pages or self.length // size
        first = self.page(1) or b""
        self.has_header = first[:16] == MAGIC
        # Bytes at a page's end that SQLite does not use: none, in any file of this server.
        self.usable = size - (first[20] if self.has_header else 0)
        self.version = int.from_bytes(first[60:64], "big") if self.has_header else None

    def __enter__(self) -> PageFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
        if self._wal is not None:
            self._wal.close()

    def page(self, number: int) -> bytes | None:
        """The page as of the last commit; None if the disk cannot read it, or there is none."""
        if not 1 <= number <= self.count:
            return None
        source, offset = self._file, (number - 1) * self.size
        if number in self._frames and self._wal is not None:
            source, offset = self._wal, self._frames[number]
        try:
            source.seek(offset)
            found = source.read(self.size)
        except OSError:
            return None
        return found if len(found) == self.size else None

    def parent(self, number: int) -> tuple[int, int] | None:
        """The page's kind and parent by the pointer map; None if the map does not say."""
        return self._map.get(number)

    def children(self, number: int) -> list[int]:
        """The pages of the tree directly below a page, by the pointer map."""
        return self._children.get(number, [])

    def roots(self) -> list[int]:
        """The first pages of all tables and indexes, by the pointer map."""
        return sorted(number for number, (kind, _) in self._map.items() if kind == ROOT)

    @cached_property
    def _children(self) -> dict[int, list[int]]:
        children: dict[int, list[int]] = defaultdict(list)
        for number, (kind, parent) in self._map.items():
            if kind == TREE:
                children[parent].append(number)
        return children

    @cached_property
    def _map(self) -> dict[int, tuple[int, int]]:
        """Every entry of the pointer map; a page of the map with an impossible entry is skipped."""
        entries = self.usable // ENTRY_BYTES
        first = self.page(1) or b""
        if self.has_header and first[52:56] == b"\0\0\0\0":
            return {}
        found: dict[int, tuple[int, int]] = {}
        pending = PENDING_BYTE // self.size + 1
        for start in range(2, self.count + 1, entries + 1):
            at = start + 1 if start == pending else start
            last = min(start + entries, self.count)
            page = self.page(at)
            if page is None:
                continue
            some = {
                number: struct.unpack_from(">BI", page, ENTRY_BYTES * (number - at - 1))
                for number in range(at + 1, last + 1)
                if number != pending
            }
            if all(ROOT <= kind <= TREE and up <= self.count for kind, up in some.values()):
                found.update(some)
        return found

    def _committed(self) -> tuple[dict[int, int], int]:
        """Where the -wal has the newest commit of each page, and the number of pages then."""
        assert self._wal is not None
        header = self._wal.read(WAL_HEADER_BYTES)
        if len(header) < WAL_HEADER_BYTES:
            return {}, 0
        magic, _, size, _ = struct.unpack(">4I", header[:16])
        order = WAL_MAGICS.get(magic)
        if order is None or size not in PAGE_SIZES:
            return {}, 0
        self.size = size
        sums = _checksum(order, header[:24], (0, 0))
        if sums != struct.unpack(">2I", header[24:32]):
            return {}, 0
        committed: dict[int, int] = {}
        waiting: dict[int, int] = {}
        pages, offset = 0, WAL_HEADER_BYTES
        while len(frame := self._wal.read(FRAME_BYTES + size)) == FRAME_BYTES + size:
            number, after = struct.unpack(">2I", frame[:8])
            sums = _checksum(order, frame[FRAME_BYTES:], _checksum(order, frame[:8], sums))
            if frame[8:16] != header[16:24] or sums != struct.unpack(">2I", frame[16:24]):
                break  # frames of an earlier round, or of a commit that did not end
            waiting[number] = offset + FRAME_BYTES
            offset += FRAME_BYTES + size
            if after:
                committed.update(waiting)
                waiting, pages = {}, after
        return committed, pages


def _checksum(order: str, data: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    """The checksum of the -wal; `order` is the byte order of its words."""
    one, other = sums
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for word in words:
        one = (one + word + other) & 0xFFFFFFFF
        other = (other + next(words) + one) & 0xFFFFFFFF
    return one, other
