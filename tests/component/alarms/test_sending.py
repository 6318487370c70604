"""Messages to real web and mail servers, which also fail, hang, redirect and answer slowly."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import socket
import ssl
import subprocess
import sys

import pytest

from server.alarms.targets import sending
from server.alarms.targets.message import NoticeItem, NoticeMessage, message_of
from server.alarms.targets.sending import NoticeSender
from server.alarms.targets.sockets import NotSent
from tests.support.certificates import identity
from tests.support.notices import HERE, an_alarm, mailbox, webhook
from tests.support.receivers import CUT, HANG, mail_receiver, status, web_receiver

NOW = 1_790_000_000_000


def a_message() -> NoticeMessage:
    return message_of([NoticeItem("a1", an_alarm("Büro"), None)], NOW, "UTC")


@pytest.fixture
def sender() -> NoticeSender:
    return NoticeSender(HERE, clear_passwords=False)


async def failure(sender: NoticeSender, target, left=()) -> NotSent:
    with pytest.raises(NotSent) as failed:
        await sender.send(target, a_message(), left)
    return failed.value


def trusting(authority: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authority)


def serving(own) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(own.cert, own.key)
    return context


async def test_a_webhook_gets_signed_json_with_the_id(sender):
    async with web_receiver() as receiver:
        await sender.send(webhook(receiver.url, secret="key of both"), a_message())
    (posted,) = receiver.posted
    assert posted.headers["X-BAS-Notice-ID"] == posted.json()["id"] == "a1"
    signed = posted.headers["X-BAS-Timestamp"].encode() + b"." + posted.body
    mac = hmac.new(b"key of both", signed, hashlib.sha256).hexdigest()
    assert posted.headers["X-BAS-Signature"] == f"sha256={mac}"


async def test_ntfy_gets_its_json_above_the_topic(sender):
    async with web_receiver() as receiver:
        url = f"http://127.0.0.1:{receiver.port}/ntfy/my-topic"
        await sender.send(webhook(url, kind="ntfy"), a_message())
    (posted,) = receiver.posted
    assert (posted.target, posted.json()["topic"]) == ("/ntfy", "my-topic")
    assert posted.json()["priority"] == 5
    assert "Notice a1" in posted.json()["message"]


@pytest.mark.parametrize(
    ("answer", "says", "unsure"),
    [
        (status(500), "answered 500", False),
        (status(302, "Location: http://127.0.0.1:1/"), "redirects (302)", False),
        (CUT, "closed the connection", True),
        (b"220 mail ESMTP\r\n\r\n", "does not answer in HTTP", True),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", "does not answer in HTTP", True),
    ],
)
async def test_an_answer_that_is_no_2xx_is_a_failure(sender, answer, says, unsure):
    async with web_receiver() as receiver:
        receiver.answer = answer
        failed = await failure(sender, webhook(receiver.url))
    assert says in str(failed)
    assert failed.unsure == unsure
    assert len(receiver.posted) == 1


async def test_interim_answers_and_a_slow_body_are_no_failure(sender):
    async with web_receiver() as receiver:
        receiver.answer = status(103) + b"HTTP/1.1 204 None\r\n\r\n"
        await sender.send(webhook(receiver.url), a_message())
        receiver.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nx"
        await sender.send(webhook(receiver.url), a_message())
    assert len(receiver.posted) == 2


async def test_a_receiver_that_hangs_is_given_up_in_time(sender, monkeypatch):
    monkeypatch.setattr(sending, "SEND_S", 0.2)
    async with web_receiver() as receiver:
        receiver.answer = HANG
        failed = await failure(sender, webhook(receiver.url))
        assert failed.unsure
        assert not (await failure(sender, webhook("http://127.0.0.1:1/"))).unsure


async def test_private_addresses_are_refused_also_behind_a_name(monkeypatch):
    sender = NoticeSender((), clear_passwords=False)
    async with web_receiver() as receiver, mail_receiver() as mail:
        for url in (receiver.url, f"http://localhost:{receiver.port}/", "http://[::1]:1/"):
            assert "private address" in str(await failure(sender, webhook(url)))
        assert "private address" in str(await failure(sender, mailbox(mail.port)))
    assert receiver.posted == []
    assert "not found" in str(await failure(sender, webhook("http://no-such-host.invalid/")))


async def test_a_name_is_resolved_once_and_the_checked_address_is_used(sender, monkeypatch):
    """A name server that answers with another address a moment later leads nowhere else."""
    asked = []
    async with web_receiver() as receiver:
        loop = asyncio.get_running_loop()
        found = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", receiver.port))

        async def once(host, port, **_):
            asked.append(host)
            return [found]

        monkeypatch.setattr(loop, "getaddrinfo", once)
        await sender.send(webhook(f"http://rebinding.example:{receiver.port}/x"), a_message())
    assert asked == ["rebinding.example"]
    assert receiver.posted[0].headers["Host"] == f"rebinding.example:{receiver.port}"


async def test_the_certificate_must_be_of_the_name(sender, tmp_path, monkeypatch):
    own = identity(tmp_path, "localhost")
    async with web_receiver(serving(own)) as receiver:
        url = f"https://localhost:{receiver.port}/"
        assert "certificate" in str(await failure(sender, webhook(url)))
        monkeypatch.setattr(sender, "_tls", trusting(own.cert))
        await sender.send(webhook(url), a_message())
        loop = asyncio.get_running_loop()
        resolve = loop.getaddrinfo

        async def here(host, port, **kind):
            return await resolve("127.0.0.1", port, **kind)

        monkeypatch.setattr(loop, "getaddrinfo", here)
        other = webhook(f"https://other.example:{receiver.port}/")
        assert "certificate" in str(await failure(sender, other))
    assert len(receiver.posted) == 1


async def test_an_e_mail_has_the_id_and_says_that_no_person_wrote_it(sender):
    async with mail_receiver() as receiver:
        await sender.send(mailbox(receiver.port), a_message())
    ((recipients, mail),) = receiver.mails
    assert recipients == ["ann@example.com", "bob@example.com"]
    assert mail["Message-ID"] == "<a1@example.com>"
    assert mail["X-BAS-Notice-ID"] == "a1"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert "Büro" in mail["Subject"]
    assert "31.4 °C" in mail.get_content()


async def test_a_refused_recipient_is_a_failure_and_the_others_get_it_once(sender):
    async with mail_receiver() as receiver:
        receiver.refused = {"bob@example.com"}
        failed = await failure(sender, mailbox(receiver.port))
        assert (failed.left, failed.unsure) == (("bob@example.com",), True)
        receiver.refused = set()
        await sender.send(mailbox(receiver.port), a_message(), failed.left)
        receiver.refused = {"ann@example.com", "bob@example.com"}
        assert not (await failure(sender, mailbox(receiver.port))).unsure
    assert [to for to, _ in receiver.mails] == [["ann@example.com"], ["bob@example.com"]]


async def test_a_password_goes_only_over_tls_unless_a_setting_allows_clear_text(
    sender, tmp_path, monkeypatch
):
    login = {"username": "bas", "secret": "pass"}
    async with mail_receiver() as receiver:
        clear = mailbox(receiver.port, **login)
        assert "needs TLS" in str(await failure(sender, clear))
        # The server offers no STARTTLS: nothing is sent, and nobody logs in.
        await failure(sender, mailbox(receiver.port, tls="starttls", **login))
        assert (receiver.logins, receiver.mails) == ([], [])
        await NoticeSender(HERE, clear_passwords=True).send(clear, a_message())
        assert receiver.logins == [(b"bas", b"pass")]
    own = identity(tmp_path, "localhost")
    monkeypatch.setattr(sender, "_tls", trusting(own.cert))
    async with mail_receiver(serving(own)) as receiver:
        secured = mailbox(receiver.port, host="localhost", tls="starttls", **login)
        await sender.send(secured, a_message())
        assert receiver.logins == [(b"bas", b"pass")]
    token = webhook("http://127.0.0.1:1/t", kind="ntfy", secret="tk_1")
    assert "needs TLS" in str(await failure(sender, token))


async def test_a_mail_server_that_hangs_or_speaks_no_smtp_is_a_failure(sender, monkeypatch):
    monkeypatch.setattr(sending, "SEND_S", 0.5)
    async with mail_receiver() as receiver:
        receiver.hangs = True
        assert (await failure(sender, mailbox(receiver.port))).unsure
    async with web_receiver() as web:
        await failure(sender, mailbox(web.port))


async def test_a_name_in_the_subject_adds_no_header(sender):
    hostile = message_of([NoticeItem("a1", an_alarm("x\r\nBcc: eve@example.com"), None)], NOW, "")
    async with mail_receiver() as receiver:
        await sender.send(mailbox(receiver.port), hostile)
    ((_, mail),) = receiver.mails
    assert mail["Bcc"] is None
    assert "Bcc: eve@example.com" in mail["Subject"]


def test_what_the_site_s_targets_need_is_loaded_before_the_first_alarm():
    """Then the disk may fail; a site without a target for e-mail saves the memory."""
    code = """
import asyncio, sys
from types import SimpleNamespace
from server.alarms.notices import AlarmNotices
from server.alarms.targets.sending import NoticeSender
from server.common.clock import SystemClock
from tests.support.notices import HERE, mailbox
LOADED = {"aiosmtplib", "email.message", "email.policy"}
found, looked = [], asyncio.Event()
async def targets_of(tenant_id):
    looked.set()
    return found
async def main():
    sender = NoticeSender(HERE, clear_passwords=True)
    heard = SimpleNamespace(listen=lambda *_: None)
    store, clock = SimpleNamespace(targets_of=targets_of), SystemClock()
    for expected in (set(), LOADED):
        looked.clear()
        notices = AlarmNotices(store, sender, None, heard, clock, None, "", lambda: None)
        notices.start()
        await asyncio.wait_for(looked.wait(), 60)
        async with asyncio.timeout(60):
            while not LOADED & set(sys.modules) >= expected:
                await asyncio.sleep(0.01)
        assert LOADED & set(sys.modules) == expected
        await notices.stop()
        found.append(mailbox(1))
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
