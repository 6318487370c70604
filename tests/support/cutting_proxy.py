"""A proxy for HTTP/2 that can lose the answer to a request that the server has carried out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_FRAME_HEAD = 9
_HEADERS = 1


class CuttingProxy:
    """Forwards 127.0.0.1:`port` to a server. It does not forward the next `lose` answers: it cuts
    each connection when the answer begins. With `after` it counts only answers that begin after it
    forwarded a request with these bytes."""

    def __init__(self, upstream_port: int) -> None:
        self.lose = 0
        self.after = b""
        self.lost = 0
        self.port = 0
        self._upstream_port = upstream_port
        self._writers: set[asyncio.StreamWriter] = set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        except OSError:
            writer.close()
            return
        pair = {writer, up_writer}
        self._writers |= pair
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._copy_requests(reader, up_writer))
                both.create_task(self._copy_frames(up_reader, writer))
        except* (OSError, asyncio.IncompleteReadError):
            pass  # when one side closes, both are closed
        finally:
            for one in pair:
                one.close()
            self._writers -= pair

    async def _copy_requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
            if self.after in data:
                self.after = b""
        raise ConnectionResetError

    async def _copy_frames(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            head = await reader.readexactly(_FRAME_HEAD)
            if head[3] == _HEADERS and self.lose and not self.after:
                self.lose -= 1
                self.lost += 1
                raise ConnectionAbortedError
            writer.write(head + await reader.readexactly(int.from_bytes(head[:3])))
            await writer.drain()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[CuttingProxy]:
        """Listen while the block runs."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in self._writers:
                writer.close()
