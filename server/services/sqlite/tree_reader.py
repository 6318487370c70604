"""TreeReader: reads the rows of one table from its pages, and goes on behind damaged ones.

A damaged page costs its own rows. What was below it is found by the file's pointer map. Only pages
that the tree leads to are read, so no deleted row comes back.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from server.services.sqlite.page_file import HEADER_BYTES, PageFile

StoredValue = int | float | str | bytes | None
INDEX_INNER, TABLE_INNER, INDEX_LEAF, TABLE_LEAF = 2, 5, 10, 13
INNER = {INDEX_INNER, TABLE_INNER}
KINDS = {True: {TABLE_INNER, TABLE_LEAF}, False: {INDEX_INNER, INDEX_LEAF}}
DEPTH_MAX = 30
_SIGNED = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


class PageRow(NamedTuple):
    """A row as it is stored; the key is its rowid, None in a table without rowids."""

    rowid: int | None
    values: tuple[StoredValue, ...]


class Lost(NamedTuple):
    """A page, or one row on a page, that cannot be read; None if it is not known how many rows."""

    page: int
    rows: int | None = None


class _Node(NamedTuple):
    kind: int
    cells: list[int]
    right: int


class TreeReader:
    """The rows of the tree below a root page, in the order of their keys where it is whole.

    `has_rowids` is false for an index, and for a table without rowids.
    """

    def __init__(self, pages: PageFile, root: int, *, has_rowids: bool) -> None:
        self._pages = pages
        self._root = root
        self._kinds = KINDS[has_rowids]
        self._seen: set[int] = set()
        self.leaves = 0
        """How many leaf pages were read."""

    def __iter__(self) -> Iterator[PageRow | Lost]:
        return self._below(self._root, 0)

    def _below(self, number: int, depth: int) -> Iterator[PageRow | Lost]:
        if number in self._seen or depth > DEPTH_MAX:
            yield Lost(number)
            return
        self._seen.add(number)
        data = self._pages.page(number)
        node = None if data is None else _node(data, number, self._kinds, self._pages.usable)
        if data is None or node is None:
            yield Lost(number, self._rows_of(number))
        elif node.kind in INNER:
            yield from self._inner(number, data, node, depth)
        else:
            self.leaves += 1
            for at in node.cells:
                yield self._row(data, at, number, node.kind)
        # Those of a damaged page, and those that a damaged cell led to.
        others = [child for child in self._pages.children(number) if child not in self._seen]
        for child in sorted(others, key=self._first):
            yield from self._below(child, depth + 1)

    def _rows_of(self, number: int) -> int | None:
        """The rows on an inner page: one between each two of its children, in an index."""
        children = self._pages.children(number)
        if not children:
            return None
        return 0 if TABLE_INNER in self._kinds else len(children) - 1

    def _first(self, number: int) -> tuple[StoredValue, ...]:
        """The first key on a page, to put pages in order."""
        data = self._pages.page(number)
        node = None if data is None else _node(data, number, self._kinds, self._pages.usable)
        if data is None or node is None or not node.cells:
            return ()
        at = node.cells[0]
        if node.kind == TABLE_INNER:
            return (read_varint(data, at + 4)[0],)
        found = self._row(data, at + 4 * (node.kind == INDEX_INNER), number, node.kind)
        if isinstance(found, Lost):
            return ()
        return found.values if found.rowid is None else (found.rowid,)

    def _inner(self, number: int, data: bytes, node: _Node, depth: int) -> Iterator[PageRow | Lost]:
        for at in node.cells:
            (child,) = struct.unpack_from(">I", data, at)
            yield from self._child(child, number, depth)
            if node.kind == INDEX_INNER:
                yield self._row(data, at + 4, number, node.kind)
        yield from self._child(node.right, number, depth)

    def _child(self, child: int, number: int, depth: int) -> Iterator[PageRow | Lost]:
        known = self._pages.children(number)
        # A damaged cell may lead anywhere. The right page follows, since it is in the map.
        if child in known or not known:
            yield from self._below(child, depth + 1)

    def _row(self, data: bytes, at: int, number: int, kind: int) -> PageRow | Lost:
        try:
            size, at = read_varint(data, at)
            rowid: int | None = None
            if kind == TABLE_LEAF:
                rowid, at = read_varint(data, at)
                rowid = rowid - (1 << 64) if rowid >= 1 << 63 else rowid
            return PageRow(rowid, record(self._payload(data, at, size, kind)))
        except (IndexError, ValueError, struct.error):
            return Lost(number, rows=1)

    def _payload(self, data: bytes, at: int, size: int, kind: int) -> bytes:
        """A row's bytes, perhaps with those of overflow pages. ValueError if some are lost."""
        usable = self._pages.usable
        most = usable - 35 if kind == TABLE_LEAF else (usable - 12) * 64 // 255 - 23
        if size > self._pages.count * usable:
            raise ValueError("longer than the file")
        local = size
        if size > most:
            least = (usable - 12) * 32 // 255 - 23
            local = least + (size - least) % (usable - 4)
            local = local if local <= most else least
        if at + local > usable:
            raise ValueError("beyond the page")
        parts, left = [data[at : at + local]], size - local
        following = struct.unpack_from(">I", data, at + local)[0] if left else 0
        while left:
            page = self._pages.page(following)
            if page is None:
                raise ValueError("an overflow page is lost")
            parts.append(page[4 : 4 + min(left, usable - 4)])
            left -= len(parts[-1])
            (following,) = struct.unpack_from(">I", page)
        return b"".join(parts)


def _node(data: bytes, number: int, kinds: set[int], usable: int) -> _Node | None:
    """The head of a page of a tree; None if it is no such page."""
    start = HEADER_BYTES if number == 1 else 0
    kind = data[start]
    if kind not in kinds:
        return None
    (count,) = struct.unpack_from(">H", data, start + 3)
    head = start + (12 if kind in INNER else 8)
    if head + 2 * count > usable:
        return None
    cells = list(struct.unpack_from(f">{count}H", data, head))
    if any(not head + 2 * count <= at < usable for at in cells):
        return None
    right = struct.unpack_from(">I", data, start + 8)[0] if kind in INNER else 0
    return _Node(kind, cells, right)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, and where the next one begins."""
    number = 0
    for end in range(at, at + 8):
        number = number << 7 | data[end] & 0x7F
        if data[end] < 0x80:
            return number, end + 1
    return number << 8 | data[at + 8], at + 9


def record(payload: bytes) -> tuple[StoredValue, ...]:
    """The values of a row. Raises ValueError or IndexError if it is none."""
    end, at = read_varint(payload, 0)
    if not at <= end <= len(payload):
        raise ValueError("no head")
    values, body = [], end
    while at < end:
        code, at = read_varint(payload, at)
        value, body = _value(payload, code, body)
        values.append(value)
    if at != end or body != len(payload):
        raise ValueError("the head does not fit the row")
    return tuple(values)


def _value(payload: bytes, code: int, at: int) -> tuple[StoredValue, int]:
    if code == 0:
        return None, at
    if code in (8, 9):
        return code - 8, at
    if code == 7:
        return struct.unpack_from(">d", payload, at)[0], at + 8
    size = _SIGNED.get(code, 0)
    if code >= 12:
        size = (code - 12) // 2
    elif not size:
        raise ValueError("no such code")
    piece = payload[at : at + size]
    if len(piece) != size:
        raise ValueError("too short")
    if code < 12:
        return int.from_bytes(piece, "big", signed=True), at + size
    return (piece.decode() if code % 2 else piece), at + size
