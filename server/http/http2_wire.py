"""Http2Wire: the frames of one HTTP/2 connection, made and understood by h2, within bounds."""

from __future__ import annotations

import asyncio
import contextlib
from email.utils import formatdate
from functools import lru_cache

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import Event
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from server.http.http2_calm import Calm

# A browser has one connection for all of its tabs, each with a stream. RFC 9113 advises 100.
STREAMS_MAX = 100
HEADERS_MAX_BYTES = 16 * 1024
CHUNK_BYTES = 16 * 1024
# How much of a body a client may send before the application takes some of it.
SMALL_WINDOW = 8 * 1024
# The client may ask for a table of any size; it would hold headers of our answers.
TABLE_MAX_BYTES = 4096
# h2 raises these where a stream has ended in the meantime.
ENDED = (ProtocolError, KeyError)


class _BoundedH2(H2Connection):
    """h2 with a short memory of closed streams: with its own, a connection could grow to 6 MB."""

    MAX_CLOSED_STREAMS = 1000

    def __init__(self) -> None:
        super().__init__(H2Configuration(client_side=False, header_encoding=None))
        self.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS_MAX,
                SettingCodes.MAX_HEADER_LIST_SIZE: HEADERS_MAX_BYTES,
            },
        )
        self.decoder.max_header_list_size = HEADERS_MAX_BYTES


class Http2Wire:
    """Writes to `transport`; `is_paused` while the client takes too little."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.is_paused = False
        self.calm = Calm()
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._h2 = _BoundedH2()
        self._is_flush_due = False
        self._settings_acknowledged = 0
        self._unacknowledged = 0
        self._h2.initiate_connection()
        self.flush()

    def receive(self, piece: bytes) -> list[Event]:
        """Read bytes of the client. Raises ProtocolError if they break the rules."""
        return self._h2.receive_data(piece)

    def settings_acknowledged(self) -> None:
        """Shrink the windows of new streams, after the client knows the first settings."""
        self._settings_acknowledged += 1
        if self._settings_acknowledged == 1:
            self._h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: SMALL_WINDOW})
        elif self._settings_acknowledged == 2:
            self.took(0)  # the client may have used up the whole window
        else:
            self.calm.disturb()

    def settings_changed(self) -> None:
        """Bound what the client's settings cost."""
        table = min(self._h2.remote_settings.header_table_size, TABLE_MAX_BYTES)
        self._h2.encoder.header_table_size = table

    def took(self, size: int) -> None:
        """Let the client send as many bytes of bodies as have come.

        Until it knows of the small windows, the connection's own window bounds its bodies.
        """
        self._unacknowledged += size
        if self._settings_acknowledged > 1 and self._unacknowledged >= CHUNK_BYTES:
            self._h2.increment_flow_control_window(self._unacknowledged)
            self._unacknowledged = 0

    def widen(self, stream_id: int, size: int) -> None:
        """Let the client send so many more bytes of this stream's body."""
        with contextlib.suppress(*ENDED):
            self._h2.increment_flow_control_window(size, stream_id)
            self._flush_soon()

    def reset(self, stream_id: int, why: ErrorCodes) -> None:
        with contextlib.suppress(*ENDED):
            self._h2.reset_stream(stream_id, why)
            self._flush_soon()

    def send_head(
        self, stream_id: int, headers: list[tuple[bytes, bytes]], *, is_all: bool = False
    ) -> bool:
        """Send the head of an answer; False if the stream has ended."""
        headers = [*headers, (b"date", _date(int(self._loop.time())))]
        try:
            self._h2.send_headers(stream_id, headers, end_stream=is_all)
        except ENDED:
            return False
        self._flush_soon()
        return True

    def send_some(self, stream_id: int, data: bytes, is_last: bool) -> tuple[int, bool]:
        """Send as much as the client takes now: the number of bytes, and whether that was all.

        Raises ProtocolError or KeyError if the stream has ended.
        """
        sent = 0
        while not self.is_paused:
            room = max(0, self._h2.local_flow_control_window(stream_id))
            chunk = data[sent : sent + min(room, CHUNK_BYTES)]
            is_end = is_last and sent + len(chunk) == len(data)
            if not chunk and not is_end:
                break
            self._h2.send_data(stream_id, chunk, end_stream=is_end)
            self.calm.answered(len(chunk))
            sent += len(chunk)
            if is_end:
                self._flush_soon()
                return sent, True
            self.flush()
        return sent, False

    def end(self, why: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """End the connection, and say why.

        A GOAWAY while requests run would be of no use: clients that use h2 then lose their answers.
        """
        with contextlib.suppress(ProtocolError):  # it is in h2's state of an end already
            self._h2.close_connection(why)
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        self._is_flush_due = False
        data = self._h2.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def _flush_soon(self) -> None:
        """Flush after the current turn of the event loop, so that all of it shares one write."""
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self.flush)


@lru_cache(1)
def _date(_second: int) -> bytes:
    """Return the current date for the header; the cached text is used for one second."""
    return formatdate(usegmt=True).encode()
