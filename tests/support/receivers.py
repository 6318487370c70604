"""Real receivers of notices: a web server and a mail server, which also fail as a test says."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HANG, CUT = b"hang", b"cut"


def status(code: int, *lines: str) -> bytes:
    """An empty answer of this status."""
    head = "\r\n".join((f"HTTP/1.1 {code} x", "Content-Length: 0", *lines))
    return f"{head}\r\n\r\n".encode()


@dataclass(frozen=True)
class Posted:
    """A request that came."""

    target: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class WebReceiver:
    """Answers each post with the next of `answers`, then with `answer`; HANG answers never."""

    port: int = 0
    answer: bytes = OK
    answers: list[bytes] = field(default_factory=list)
    posted: list[Posted] = field(default_factory=list)
    open: set[asyncio.BaseTransport] = field(default_factory=set)
    _came: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def wait_for(self, is_enough: Callable[[list[Posted]], bool]) -> list[Posted]:
        """The requests, as soon as they are enough."""
        async with asyncio.timeout(60), self._came:
            await self._came.wait_for(lambda: is_enough(self.posted))
        return self.posted

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer.transport)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.split("\r\n")[:-2]
            headers = dict(line.split(": ", 1) for line in lines)
            body = await reader.readexactly(int(headers["Content-Length"]))
            answer = self.answers.pop(0) if self.answers else self.answer
            async with self._came:
                self.posted.append(Posted(first.split(" ")[1], headers, body))
                self._came.notify_all()
            if answer == HANG:
                await reader.read()
            elif answer != CUT:
                writer.write(answer)
                await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            writer.transport.abort() if answer == CUT else writer.close()


@asynccontextmanager
async def web_receiver(tls: ssl.SSLContext | None = None) -> AsyncIterator[WebReceiver]:
    """A web server on a free port of this machine."""
    receiver = WebReceiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        await close(server, receiver.open)


async def close(server: asyncio.Server, connections: Iterable[asyncio.BaseTransport]) -> None:
    """Stop a server, and cut the connections that hang."""
    server.close()
    for one in connections:
        assert isinstance(one, asyncio.WriteTransport)
        one.abort()
    for _ in range(3):
        await asyncio.sleep(0)


@dataclass
class MailReceiver:
    """Takes mail, but none for the addresses in `refused`; with `hangs` it answers no message."""

    port: int = 0
    refused: set[str] = field(default_factory=set)
    hangs: bool = False
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)
    mails: list[tuple[list[str], EmailMessage]] = field(default_factory=list)

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if address in self.refused:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append((list(envelope.rcpt_tos), mail))
        if self.hangs:
            await asyncio.sleep(60)
        return "250 taken"

    def log_in(self, server: Any, session: Any, envelope: Any, kind: str, data: Any) -> Any:
        self.logins.append((data.login, data.password))
        return AuthResult(success=True)


@asynccontextmanager
async def mail_receiver(tls: ssl.SSLContext | None = None) -> AsyncIterator[MailReceiver]:
    """A mail server on a free port of this machine; with `tls` it offers STARTTLS."""
    receiver = MailReceiver()
    loop = asyncio.get_running_loop()

    sessions: list[SMTP] = []

    def session() -> SMTP:
        one = SMTP(
            receiver,
            hostname="localhost",
            tls_context=tls,
            auth_require_tls=False,
            authenticator=receiver.log_in,
            loop=loop,
        )
        sessions.append(one)
        return one

    server = await loop.create_server(session, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        await close(server, [one.transport for one in sessions if one.transport])
