"""Posts a notice by HTTP/1.1, on asyncio and h11: one request for each connection, no redirects.

h11 is pinned anyway, as the server reads its devices' requests with it. The usual clients resolve
the name again when they connect, so the address could be another one than that which was checked.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

import h11

from server.alarms.targets.sockets import NotSent, connected
from server.common.version import VERSION
from server.config.parsers import Network

HEAD_MAX, PIECE = 32 * 1024, 8 * 1024


class WebAddress(NamedTuple):
    """Where a URL leads: the parts that a request needs."""

    tls: bool
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The value of the header Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def web_address(url: str) -> WebAddress:
    """The parts of an http or https URL. Raises ValueError that says what it may be."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("a URL such as https://example.com/hook")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL without a user name and a password")
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise ValueError("a URL in printable ASCII without spaces")
    tls = parts.scheme == "https"
    port = (443 if tls else 80) if parts.port is None else parts.port
    if port == 0:
        raise ValueError("a URL with a port from 1 to 65535")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return WebAddress(tls, parts.hostname, port, path)


async def post(
    address: WebAddress,
    headers: Mapping[str, str],
    body: bytes,
    allowed: tuple[Network, ...],
    tls: ssl.SSLContext | None,
) -> None:
    """Post the body; return if the answer is 2xx. Raises NotSent.

    The caller bounds the time. Of the answer nothing but its status is read: its text could show
    the caller what it may not see.
    """
    connection = await connected(address.host, address.port, allowed)
    try:
        reader, writer = await asyncio.open_connection(
            sock=connection,
            ssl=tls if address.tls else None,
            server_hostname=address.host if address.tls else None,
            limit=HEAD_MAX,
        )
    except ssl.SSLCertVerificationError as error:
        connection.close()
        raise NotSent(f"the certificate of {address.host}: {error.verify_message}") from None
    except (OSError, EOFError) as error:
        connection.close()
        raise NotSent(f"no TLS with {address.host}: {_said(error)}") from None
    except BaseException:
        connection.close()
        raise
    try:
        status = await _status(reader, writer, _request(address, headers, body), body)
    except (OSError, EOFError) as error:
        raise NotSent(f"{address.host} gave no answer: {_said(error)}", unsure=True) from None
    except h11.RemoteProtocolError:
        raise NotSent(f"{address.host} does not answer in HTTP", unsure=True) from None
    finally:
        # Nothing is sent any more, so nothing is waited for.
        writer.transport.abort()
    if 300 <= status < 400:
        raise NotSent(f"{address.host} redirects ({status}): set the URL that it leads to")
    if not 200 <= status < 300:
        raise NotSent(f"{address.host} answered {status}")


def _request(address: WebAddress, headers: Mapping[str, str], body: bytes) -> h11.Request:
    lines = {
        "Host": address.authority,
        "User-Agent": f"bas-server/{VERSION}",
        "Content-Length": str(len(body)),
        "Connection": "close",
        **headers,
    }
    return h11.Request(method="POST", target=address.path, headers=list(lines.items()))


async def _status(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: h11.Request, body: bytes
) -> int:
    """Send the request and read the status of its answer."""
    wire = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX)
    sent = [wire.send(request), wire.send(h11.Data(data=body)), wire.send(h11.EndOfMessage())]
    writer.write(b"".join(part for part in sent if part))
    await writer.drain()
    while True:
        event = wire.next_event()
        if event is h11.NEED_DATA:
            piece = await reader.read(PIECE)
            if not piece:
                raise EOFError
            wire.receive_data(piece)
        elif isinstance(event, h11.Response):
            return event.status_code


def _said(error: BaseException) -> str:
    if isinstance(error, EOFError):
        return "it closed the connection"
    return getattr(error, "strerror", None) or type(error).__name__
