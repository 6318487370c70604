"""NoticeSender: sends one message to one target, whatever its kind, within SEND_S."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from server.alarms.notice_models import NoticeTarget
from server.alarms.targets.http_post import WebAddress, post, web_address
from server.alarms.targets.mail import MailServer, load_mail, send_mail
from server.alarms.targets.message import MESSAGE_MAX, NTFY_MAX, NoticeMessage, text_of
from server.alarms.targets.sockets import NotSent
from server.config.parsers import Network

if TYPE_CHECKING:
    from email.message import EmailMessage

SEND_S = 10.0
ID_HEADER = "X-BAS-Notice-ID"
TOPIC = re.compile(r"[-_A-Za-z0-9]{1,64}")
# ntfy's levels: 3 is its default, 5 the highest.
PRIORITIES = {"info": 3, "warning": 4, "critical": 5}


class NoticeSender:
    """Sends; notices go to private addresses only if they are in `allowed`.

    With `clear_passwords` a password or an access token may go over a connection without TLS.
    """

    def __init__(self, allowed: tuple[Network, ...], *, clear_passwords: bool) -> None:
        self._allowed = allowed
        self._clear_passwords = clear_passwords
        self._tls: ssl.SSLContext | None = None
        self._has_mail = False

    def forbidden(self, target: NoticeTarget) -> str:
        """Why nothing may be sent to this target; empty if it may."""
        in_clear = target.tls == "none"
        if target.kind != "email":
            in_clear = target.kind == "ntfy" and not target.url.startswith("https:")
        if in_clear and target.secret and not self._clear_passwords:
            return "a password needs TLS, unless BAS_NOTICE_CLEAR_PASSWORDS=1 allows clear text"
        return ""

    async def prepare(self, targets: Sequence[NoticeTarget]) -> None:
        """Load what sending to these targets takes, from a disk that may fail before an alarm.

        Raises ImportError or OSError if it fails already.
        """
        if targets:
            await self._certificates()
        if not self._has_mail and any(one.kind == "email" for one in targets):
            await asyncio.to_thread(load_mail)
            self._has_mail = True

    async def send(
        self, target: NoticeTarget, message: NoticeMessage, left: Sequence[str] = ()
    ) -> None:
        """Send a message, of an e-mail to the recipients in `left`, or to all. Raises NotSent."""
        why = self.forbidden(target)
        if why:
            raise NotSent(why)
        tls = await self._certificates()
        try:
            async with asyncio.timeout(SEND_S):
                await self._send(target, message, left, tls)
        except TimeoutError:
            raise NotSent(f"no answer in {SEND_S:.0f} s", unsure=True) from None

    async def _certificates(self) -> ssl.SSLContext:
        if self._tls is None:
            # Reads the system's certificates, which takes about 20 ms.
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        return self._tls

    async def _send(
        self,
        target: NoticeTarget,
        message: NoticeMessage,
        left: Sequence[str],
        tls: ssl.SSLContext,
    ) -> None:
        if target.kind == "email":
            login = target.username, target.secret
            server = MailServer(target.host, target.port, target.tls, *login)
            recipients = [one for one in target.recipients if one in left] or target.recipients
            mail = _mail(target, message, recipients)
            await send_mail(server, mail, target.sender, recipients, self._allowed, tls)
            return
        address, body = web_address(target.url), message.body
        headers = {"Content-Type": "application/json", ID_HEADER: message.id}
        if target.kind == "ntfy":
            address, body = _ntfy(address, message)
            if target.secret:
                headers["Authorization"] = f"Bearer {target.secret}"
        elif target.secret:
            headers |= signature(target.secret, message.at_ms // 1000, body)
        await post(address, headers, body, self._allowed, tls)


def signature(secret: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The headers that prove who sent a body, and when: HMAC-SHA256 of `timestamp.body`."""
    signed = f"{timestamp_s}.".encode() + body
    mac = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return {"X-BAS-Timestamp": str(timestamp_s), "X-BAS-Signature": f"sha256={mac}"}


def topic_of(url: str) -> str:
    """The topic that an ntfy URL ends with; empty if it ends with none."""
    found = TOPIC.fullmatch(urlsplit(url).path.rpartition("/")[2])
    return found[0] if found else ""


def _ntfy(address: WebAddress, message: NoticeMessage) -> tuple[WebAddress, bytes]:
    """ntfy takes JSON on the path above the topic: https://docs.ntfy.sh/publish/#publish-as-json"""
    above, _, topic = address.path.rpartition("/")
    body = {
        "topic": topic,
        "title": message.title,
        "message": text_of(message, NTFY_MAX),
        "priority": PRIORITIES[message.severity],
    }
    return address._replace(path=above or "/"), msgspec.json.encode(body)


def _mail(target: NoticeTarget, message: NoticeMessage, recipients: Sequence[str]) -> EmailMessage:
    # Imported here: most sites send no e-mail.
    from email.message import EmailMessage
    from email.utils import formatdate

    mail = EmailMessage()
    mail["From"] = target.sender
    mail["To"] = ", ".join(recipients)
    mail["Subject"] = f"[BAS] {message.title}"
    mail["Date"] = formatdate(message.at_ms / 1000)
    mail["Message-ID"] = f"<{message.id}@{target.sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail[ID_HEADER] = message.id
    # Encoding adds up to a third.
    mail.set_content(text_of(message, MESSAGE_MAX * 2 // 3))
    return mail
