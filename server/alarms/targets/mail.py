"""Sends a notice as an e-mail by SMTP (aiosmtplib)."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

from server.alarms.notice_models import MailTls
from server.alarms.targets.sockets import NotSent, connected
from server.config.parsers import Network

if TYPE_CHECKING:
    from email.message import EmailMessage

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
ADDRESS_MAX = 254
# One answer of the server; the caller bounds all of them together.
ANSWER_S, QUIT_S = 10.0, 1.0


class MailServer(NamedTuple):
    """An SMTP server, and how to log in there: `username` is empty for a server without log-in."""

    host: str
    port: int
    tls: MailTls
    username: str
    password: str


def load_mail() -> None:
    """Import what an e-mail takes; ImportError or OSError if the disk does not give it."""
    import email.message
    import email.policy
    import email.utils  # noqa: F401

    import aiosmtplib  # noqa: F401


def is_mail_address(text: str) -> bool:
    """Whether this can be an e-mail address, in ASCII and without a name."""
    return len(text) <= ADDRESS_MAX and _ADDRESS.fullmatch(text) is not None


async def send_mail(
    server: MailServer,
    message: EmailMessage,
    sender: str,
    recipients: Sequence[str],
    allowed: tuple[Network, ...],
    tls: ssl.SSLContext | None,
) -> None:
    """Send the message. Raises NotSent, also if the server refused one of the recipients.

    The caller bounds the time, and decides whether a password may go over a connection without
    TLS: the library asks nobody. With `starttls` a server that does not offer it is a failure.
    """
    # Imported here: most sites send no e-mail.
    from aiosmtplib import SMTP, SMTPException, SMTPRecipientsRefused, SMTPResponseException

    connection = await connected(server.host, server.port, allowed)
    own = connection.getsockname()[0].partition("%")[0]
    client = SMTP(
        hostname=server.host,
        sock=connection,
        use_tls=server.tls == "tls",
        start_tls=server.tls == "starttls",
        tls_context=tls,
        username=server.username or None,
        password=server.password or None,
        local_hostname=f"[IPv6:{own}]" if ":" in own else f"[{own}]",
        timeout=ANSWER_S,
    )
    transport: asyncio.WriteTransport | None = None
    try:
        await client.connect()
        transport = cast("asyncio.WriteTransport", client.transport)
        refused, _ = await client.send_message(message, sender=sender, recipients=recipients)
        # It is sent, whatever the server answers from here on.
        with contextlib.suppress(SMTPException, OSError):
            await client.quit(timeout=QUIT_S)
    except SMTPRecipientsRefused as error:
        raise NotSent(_refusal(server, {one.recipient: one for one in error.recipients})) from None
    except SMTPResponseException as error:
        raise NotSent(f"{server.host} answered {error.code} {_line(error.message)}") from None
    except (SMTPException, OSError, ValueError, EOFError) as error:
        text = _line(str(error)) or type(error).__name__
        unsure = transport is not None
        raise NotSent(f"no e-mail by {server.host}: {text}", unsure=unsure) from None
    finally:
        if transport is not None:
            transport.abort()  # `close` would wait for the other side to end TLS too
        client.close()
        connection.close()
    if refused:
        left = [one for one in recipients if one in refused]
        raise NotSent(_refusal(server, refused), unsure=True, left=left)


def _refusal(server: MailServer, refused: Mapping[str, object]) -> str:
    first = next(iter(refused.values()), None)
    code = getattr(first, "code", None)
    return f"{server.host} refused {len(refused)} of the recipients (code {code})"


def _line(text: str) -> str:
    """What a server says, as part of one line."""
    flat = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(flat.split())[:200]
