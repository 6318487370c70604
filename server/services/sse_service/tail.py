"""Tail: keeps one tenant's newest events in memory, and joins their bytes once for all clients."""

from __future__ import annotations

from server.services.ports.event_log import Cursor, Entry

# Pages that only use `onmessage` would take these events for readings, so they get a comment
# instead. It is not empty, because an empty chunk would end the response.
ONLY_NAMED = tuple(f"event: {name}\n".encode() for name in ("zone", "settings", "deleted", "alarm"))
COMMENT = b":\n\n"
TAIL_MAX_BYTES = 1_000_000
CHUNK_MAX_BYTES = 256 * 1024
# Live subscribers share one or two offsets. Replays use many more; this bounds their memory.
RENDERED_MAX = 16


class Tail:
    """The entries after offset `base` up to `head`; offset 0 is where the tail began.

    Subscribers see the entries up to `released`.
    """

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
        self.base = self.head = self.released = 0
        self.entries: list[Entry] = []
        self._base_id = ""
        self._bytes = 0
        self._rendered: dict[tuple[int, bool], tuple[bytes, int, str]] = {}
        # The last chunk, its offset and whether it has names: most subscribers take the same one.
        self._chunk: tuple[int, bool, tuple[bytes, int, str]] | None = None

    def begin(self, cursor: Cursor) -> None:
        """Start after this position of the log."""
        self._base_id = str(cursor)

    def id_at(self, offset: int) -> str:
        """The id that belongs to an offset from `base` to `head`: that of the entry before it."""
        return self._base_id if offset == self.base else self.entries[offset - self.base - 1].id

    def find(self, event_id: str) -> int | None:
        """The offset with this id; None if the tail does not hold it."""
        for offset in range(self.head, self.base - 1, -1):
            if self.id_at(offset) == event_id:
                return offset
        return None

    def add(self, entry: Entry) -> None:
        """Append an entry; subscribers do not see it before `release`."""
        self.entries.append(entry)
        self._bytes += entry.size
        self.head += 1

    def release(self) -> int:
        """Let subscribers see every entry; return the offset up to which they saw them before."""
        self._forget_rendered()
        before, self.released = self.released, self.head
        return before

    def after(self, offset: int) -> list[Entry]:
        """The released entries after `offset`, which is not below `base`."""
        return self.entries[offset - self.base : self.released - self.base]

    def chunk(self, offset: int, names: bool) -> tuple[bytes, int, str]:
        """The result of `render`, with the bytes as one chunk of a chunked response."""
        last = self._chunk
        if last is not None and last[0] == offset and last[1] is names:
            return last[2]
        piece, reached, event_id = self.render(offset, names)
        made = as_chunk(piece), reached, event_id
        self._chunk = offset, names, made
        return made

    def render(self, offset: int, names: bool) -> tuple[bytes, int, str]:
        """Join the released frames after `offset`; return the bytes, their end offset and its id.

        The result is made once for all subscribers at the same offset.
        """
        key = (offset, names)
        done = self._rendered.get(key)
        if done is None:
            if len(self._rendered) >= RENDERED_MAX:
                self._rendered.clear()
            piece, taken = join(self.after(offset), names)
            done = self._rendered[key] = piece, offset + taken, self.id_at(offset + taken)
        return done

    def _forget_rendered(self) -> None:
        self._rendered.clear()
        self._chunk = None

    def trim(self, before: int) -> None:
        """Delete the oldest entries above the bounds in number and in bytes.

        Subscribers may still need the entries after `before`: only the bound in bytes deletes them.
        """
        excess = len(self.entries) - self._entries_max
        cut = max(0, min(excess, before - self.base))
        size = self._bytes - sum(entry.size for entry in self.entries[:cut])
        while size > TAIL_MAX_BYTES and cut < len(self.entries):
            size -= self.entries[cut].size
            cut += 1
        if cut:
            self._forget_rendered()
            self._base_id = self.entries[cut - 1].id
            del self.entries[:cut]
            self._bytes = size
            self.base += cut


def as_chunk(piece: bytes) -> bytes:
    """Frame a piece as a chunk of HTTP/1.1 (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def join(entries: list[Entry], names: bool) -> tuple[bytes, int]:
    """Join frames, at least one and at most CHUNK_MAX_BYTES; return the bytes and their number.

    Without `names`, a comment replaces every event that a page could take for a reading; an
    EventSource does not show comments.
    """
    frames: list[bytes] = []
    size = 0
    for entry in entries:
        frame = entry.frame
        if not names:
            frame = COMMENT if frame.startswith(ONLY_NAMED) else frame[entry.name_length :]
        size += len(frame)
        if frames and size > CHUNK_MAX_BYTES:
            break
        frames.append(frame)
    return b"".join(frames), len(frames)


def wanted_by(devices: frozenset[str], entries: list[Entry]) -> list[int]:
    """The indexes of the entries for these devices or for all; without devices, every index."""
    return [
        index
        for index, entry in enumerate(entries)
        if not devices or entry.device_id is None or entry.device_id in devices
    ]
