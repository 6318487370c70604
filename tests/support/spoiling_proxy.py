"""A proxy that delays or cuts the server's answers to devices."""

from __future__ import annotations

import contextlib
import socket
import threading
from socketserver import StreamRequestHandler, ThreadingTCPServer
from types import TracebackType
from typing import BinaryIO

TIMEOUT_S = 20.0


class SpoilingProxy:
    """Forwards one request per connection to 127.0.0.1:`upstream_port` and spoils its answer.

    The answer is delayed by `hold_s`. With `cut_after` it ends after these bytes; with b"" it is
    empty. The server has carried out the request in every case.
    """

    def __init__(self, upstream_port: int) -> None:
        self.hold_s = 0.0
        self.cut_after: bytes | None = None
        self.requests: list[bytes] = []
        self.let_through: list[bytes] = []
        self._upstream_port = upstream_port
        self._closing = threading.Event()
        self._server = ThreadingTCPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def _handler(self) -> type[StreamRequestHandler]:
        forward = self._forward

        class Handler(StreamRequestHandler):
            timeout = TIMEOUT_S

            def handle(self) -> None:
                with contextlib.suppress(OSError):  # either side may disconnect at any time
                    forward(self.rfile, self.connection)

        return Handler

    def _forward(self, received: BinaryIO, device: socket.socket) -> None:
        request = _one_request(received)
        self.requests.append(request)
        with socket.create_connection(("127.0.0.1", self._upstream_port), TIMEOUT_S) as server:
            server.sendall(request)
            answer = b"".join(iter(lambda: server.recv(65536), b""))
        self._closing.wait(self.hold_s)
        if self.cut_after is not None:
            answer = answer[: answer.index(self.cut_after) + len(self.cut_after)]
        self.let_through.append(answer)
        device.sendall(answer)

    def __enter__(self) -> SpoilingProxy:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _one_request(received: BinaryIO) -> bytes:
    """Read a request and its body, which must have a Content-Length."""
    head, length = b"", 0
    while not head.endswith(b"\r\n\r\n") and (line := received.readline()):
        head += line
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return head + received.read(length)
