"""The same questions to a proxy that ends TLS and speaks HTTP/2, as a browser asks them.

Twelve streams share one connection, which is what twelve tabs of a browser do.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
from h2.connection import H2Connection
from h2.events import DataReceived, RemoteSettingsChanged

from scripts.matrix import proxies_http1 as plain
from scripts.matrix.proxy_programs import running, unverified, version
from tools.process import ServerProcess

STREAMS = 12


def row(name: str, which: str, lines: str, data: Path) -> list[str]:
    """All answers of one configuration."""
    with ServerProcess(data, BAS_TRUSTED_PROXIES="127.0.0.1") as server:
        session = plain.log_in(server)
        try:
            with running(name, lines, server.port, http2=True) as port:
                found = [firmware(port), *asyncio.run(_ask(port, server, session))]
        except RuntimeError as error:
            found = [f"does not start: {error}"]
        except httpx.HTTPError as error:
            found = [f"no: {type(error).__name__}"]
    return [f"{version(name)}, HTTP/2", which, *found]


def firmware(port: int) -> str:
    """Whether a device that speaks HTTP/1.1 in TLS gets an answer that it obeys."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as bare:
        return plain.obeyed(unverified().wrap_socket(bare, server_hostname="localhost"), port)


class _AsBrowsers(ssl.SSLContext):
    """Offers HTTP/2 before HTTP/1.1, as browsers do; httpx offers them the other way round.

    A proxy that follows the client's order, as lighttpd does, would choose HTTP/1.1.
    """

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        super().set_alpn_protocols(sorted(alpn_protocols))


async def _ask(port: int, server: ServerProcess, session: str) -> list[str]:
    transport = httpx.AsyncHTTPTransport(
        verify=unverified(_AsBrowsers), http2=True, local_address=plain.CLIENT
    )
    async with httpx.AsyncClient(
        transport=transport, base_url=f"https://127.0.0.1:{port}", timeout=30
    ) as client:
        found = [await _upload(client)]
        await client.post("/auth/login", json={"username": "nobody", "password": "wrong"})
        found.append(await asyncio.to_thread(plain.seen_address, server, session))
        return [*found, *await _live(port, server, session)]


async def _upload(client: httpx.AsyncClient) -> str:
    data, kind = plain.batch(), {"Content-Type": "application/json"}
    path = "/api/sensor_data/batch"
    sent = await client.post(path, content=data, headers=kind)
    packed = await client.post(
        path, content=gzip.compress(data), headers=kind | {"Content-Encoding": "gzip"}
    )
    if sent.http_version != "HTTP/2":
        return f"no: {sent.http_version}"
    codes = sent.status_code, packed.status_code
    return "yes" if codes == (200, 200) else f"no: {codes[0]}, {codes[1]}"


class _Tabs:
    """Streams on one connection, read as they come.

    httpx is no help here: it keeps what came for one stream until another one gets something too.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._http2 = H2Connection()
        self._came = asyncio.Condition()
        self._settled = asyncio.Event()
        self._texts: dict[int, bytes] = {}

    async def open(self, port: int, session: str) -> None:
        """Ask for the streams, but for no more than the proxy allows at a time."""
        await asyncio.wait_for(self._settled.wait(), plain.LIVE_S)
        about = {":method": "GET", ":path": "/api/sse/telemetry", ":scheme": "https"}
        head = {**about, ":authority": f"127.0.0.1:{port}", "x-session-id": session}
        for _ in range(min(STREAMS, self._http2.remote_settings.max_concurrent_streams)):
            number = self._http2.get_next_available_stream_id()
            self._http2.send_headers(number, list(head.items()), end_stream=True)
            self._texts[number] = b""
        self._writer.write(self._http2.data_to_send())

    async def read(self) -> None:
        """Read until the connection ends."""
        self._http2.initiate_connection()
        while True:
            self._writer.write(self._http2.data_to_send())
            piece = await self._reader.read(65536)
            if not piece:
                return
            async with self._came:
                for event in self._http2.receive_data(piece):
                    if isinstance(event, RemoteSettingsChanged):
                        self._settled.set()
                    if isinstance(event, DataReceived):
                        size = event.flow_controlled_length or 0
                        self._http2.acknowledge_received_data(size, event.stream_id)
                        self._texts[event.stream_id] += event.data or b""
                self._came.notify_all()

    def having(self, text: bytes) -> set[int]:
        """The streams that have this text."""
        return {number for number, came in self._texts.items() if text in came}

    async def until(self, text: bytes) -> set[int]:
        """The streams that have this text as soon as all have it, or when the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(plain.LIVE_S), self._came:
                await self._came.wait_for(lambda: len(self.having(text)) == len(self._texts))
        return self.having(text)

    def heartbeats(self, numbers: set[int]) -> int:
        """How many heartbeats each of these streams has at least."""
        return min(self._texts[number].count(b"event: heartbeat") for number in numbers)


@asynccontextmanager
async def _open(port: int, session: str) -> AsyncIterator[_Tabs]:
    context = unverified()
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    tabs = _Tabs(reader, writer)
    reading = asyncio.create_task(tabs.read())
    try:
        await tabs.open(port, session)
        yield tabs
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        writer.transport.abort()


async def _live(port: int, server: ServerProcess, session: str) -> list[str]:
    async with _open(port, session) as tabs:
        await tabs.until(b"event: snapshot")
        await asyncio.to_thread(plain.post_stored, server, 777)
        began = time.monotonic()
        live = await tabs.until(b'"temp_tenths":777')
        shown = f"yes, {time.monotonic() - began:.1f} s"
        if len(live) < STREAMS:
            shown = f"no: {len(live)} of {STREAMS}"
        if not live:
            return [shown, "no: ends or held"]
        before = tabs.heartbeats(live)
        await asyncio.sleep(plain.IDLE_S)
        beats = tabs.heartbeats(live) - before
        await asyncio.to_thread(plain.post_stored, server, 778)
        lost = live - await tabs.until(b'"temp_tenths":778')
    return [shown, "no: ends or held" if lost else f"{beats} in {plain.IDLE_S:.0f} s"]
