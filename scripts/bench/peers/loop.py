"""The load's event loop: epoll and one handler a socket, as little Python as it takes."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable, Sequence

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
AT_ONCE, BETWEEN = 4096, 64


class Loop:
    """Calls the handler of each socket that is ready. `tick` is called after each round, and says
    when it wants to be called again, as seconds of `time.perf_counter`.

    Sockets watched as `first` are looked at again after every few others: producers go on while
    much is to be read, so that it is never the reading that holds the server up.
    """

    def __init__(self) -> None:
        self._epoll, self._first = select.epoll(), select.epoll()
        self._epoll.register(self._first.fileno(), READ)
        self._handlers: dict[int, Callable[[], None]] = {}
        self.tick: Callable[[], float | None] = lambda: None

    def watch(self, sock: socket.socket, handler: Callable[[], None], what: int = READ) -> None:
        """Call `handler` whenever `sock` is ready."""
        self._handlers[sock.fileno()] = handler
        self._epoll.register(sock.fileno(), what)

    def watch_first(self, sock: socket.socket, handler: Callable[[], None]) -> None:
        """Call `handler` whenever `sock` can be read, before others; forgotten when closed."""
        self._handlers[sock.fileno()] = handler
        self._first.register(sock.fileno(), READ)

    def change(self, sock: socket.socket, handler: Callable[[], None], what: int = READ) -> None:
        """Call another handler from now on."""
        self._handlers[sock.fileno()] = handler
        self._epoll.modify(sock.fileno(), what)

    def forget(self, sock: socket.socket) -> None:
        """Do not call anything for it any more; before it is closed."""
        if self._handlers.pop(sock.fileno(), None) is not None:
            with contextlib.suppress(FileNotFoundError):
                self._epoll.unregister(sock.fileno())

    def run(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Until `done`, or for so long; whether it is done."""
        poll = self._epoll.poll
        end = time.perf_counter() + timeout_s
        while not done():
            due = self.tick()
            now = time.perf_counter()
            if now >= end:
                return False
            wait_s = max(0.0, min(end, end if due is None else due) - now)
            ready = poll(min(wait_s, 0.1), AT_ONCE)
            for begin in range(0, len(ready), BETWEEN):
                self._handle(self._first.poll(0))
                self.tick()
                self._handle(ready[begin : begin + BETWEEN])
        return True

    def _handle(self, ready: Sequence[tuple[int, int]]) -> None:
        for number, _ in ready:
            handler = self._handlers.get(number)
            if handler is not None:
                handler()

    def close(self) -> None:
        """Sockets are closed by whoever opened them."""
        self._epoll.close()
        self._first.close()
