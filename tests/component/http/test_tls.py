"""https on the server's port: posts of devices, pages, strangers, and a renewed certificate."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import os
import shutil
import socket
import ssl
from datetime import timedelta

import pytest

from server.common.clock import SystemClock
from server.config.config import ServerConfig
from server.http import tls_listener
from server.http.tls import ServerTls, TlsError
from tests.support.certificates import identity, trusting
from tests.support.serving import HELLO, answers, request, serving
from tests.support.stream import eventually

POST = request(b'{"temp_tenths":235,"sensor_ok":true,"device_id":"attic"}')
BOUND_S = 60.0


def tls_of(own, **settings):
    return ServerTls(ServerConfig(**own.settings(), **settings), SystemClock())


@pytest.fixture
def own(tmp_path):
    return identity(tmp_path / "tls")


@pytest.fixture
async def port(container, own):
    async with serving(container.app, container.posts, tls=tls_of(own)) as number:
        yield number


async def connect(port, own, **more):
    async with asyncio.timeout(BOUND_S):
        return await asyncio.open_connection(
            "127.0.0.1", port, ssl=trusting(own), server_hostname="localhost", **more
        )


async def talk(port, own, sent):
    reader, writer = await connect(port, own)
    try:
        async with asyncio.timeout(BOUND_S):
            writer.write(sent)
            return await reader.read()
    finally:
        writer.close()


async def plain(port, sent):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(BOUND_S):
            writer.write(sent)
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def closing(sent):
    return sent.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)


async def test_a_device_posts_over_tls_and_gets_its_command_with_the_text_that_it_looks_for(
    port, own
):
    received = await talk(port, own, closing(POST))
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    (answer,) = answers(received)
    assert answer.json()["setpoint_tenths"] == 230
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=31536000")


async def test_a_device_may_keep_its_tls_connection_for_many_posts(port, own):
    reader, writer = await connect(port, own)
    for _ in range(3):
        writer.write(POST)
        assert (await reader.readuntil(b"\r\n")) == b"HTTP/1.1 200 OK\r\n"
        await reader.readuntil(b"}")
    writer.close()


async def test_a_log_in_over_tls_gets_a_cookie_for_https_only(port, own):
    body = json.dumps({"username": "operator", "password": "correct horse"}).encode()
    (answer,) = answers(await talk(port, own, closing(request(body, target="/auth/login"))))
    assert answer.status == 200
    assert answer.cookie()["secure"]
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=31536000")


@pytest.mark.parametrize("sent", [HELLO, POST], ids=["page", "post"])
async def test_plain_http_on_a_tls_port_is_refused_with_a_hint_and_one_warning(port, sent, caplog):
    for _ in range(2):
        answer = await plain(port, sent)
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"https://" in answer
        assert b"200 OK" not in answer
    lines = [line for line in caplog.messages if "plain HTTP" in line]
    assert len(lines) == 1
    assert "127.0.0.1" in lines[0]


async def test_bytes_that_are_neither_tls_nor_http_close_the_connection_without_a_line(
    port, caplog
):
    caplog.set_level(logging.INFO)
    assert await plain(port, b"\x00\x01\x02") == b""
    assert caplog.messages == []


async def test_a_broken_handshake_closes_the_connection_with_one_warning_and_no_traceback(
    port, own, caplog
):
    for _ in range(3):
        await plain(port, b"\x16\x03\x01\x00\x05hello")
    assert [record.exc_info for record in caplog.records] == [None]
    assert caplog.messages[0].startswith("no TLS with 127.0.0.1 (")
    assert await talk(port, own, closing(HELLO))


async def test_connections_without_a_handshake_count_and_are_closed_in_time(
    container, own, monkeypatch
):
    """Otherwise silent connections would use up the files of the process."""
    monkeypatch.setattr(tls_listener, "HANDSHAKE_S", 0.5)
    async with serving(container.app, container.posts, tls=tls_of(own), shared=False) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        # Of 8 connections one address may have a quarter.
        assert await plain(port, HELLO) == b""
        for reader, writer in silent:
            async with asyncio.timeout(BOUND_S):
                assert await reader.read() == b""
            writer.close()
        assert (await plain(port, HELLO)).startswith(b"HTTP/1.1 400")


async def test_a_renewed_certificate_is_for_new_connections_and_ends_no_old_one(
    container, own, tmp_path
):
    tls = tls_of(own)
    async with serving(container.app, container.posts, tls=tls) as port:
        reader, writer = await connect(port, own)
        other = identity(tmp_path / "new")
        shutil.copy(other.cert, own.cert)
        shutil.copy(other.key, own.key)
        assert tls.renew()
        assert await talk(port, other, closing(HELLO))
        writer.write(closing(HELLO))
        async with asyncio.timeout(BOUND_S):
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_a_renewal_with_a_wrong_key_keeps_the_certificate_and_says_why(
    container, own, tmp_path, caplog
):
    tls = tls_of(own)
    async with serving(container.app, container.posts, tls=tls) as port:
        shutil.copy(identity(tmp_path / "new").key, own.key)
        assert not tls.renew()
        assert await talk(port, own, closing(HELLO))
    assert "the certificate stays as it was: BAS_TLS_KEY=" in caplog.text
    assert "is not the key of the certificate" in caplog.text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"tls_cert": "/c"}, "BAS_TLS_CERT needs BAS_TLS_KEY"),
        ({"tls_key": "/k"}, "BAS_TLS_KEY needs BAS_TLS_CERT"),
        ({"tls_client_ca": "/a"}, "BAS_TLS_CLIENT_CA needs BAS_TLS_CERT and BAS_TLS_KEY"),
    ],
)
def test_a_part_of_tls_without_the_rest_is_refused(fields, said):
    config = ServerConfig(**fields)
    assert config.tls_on
    with pytest.raises(TlsError, match=f"^{said}"):
        ServerTls(config, SystemClock())


def test_a_key_of_another_certificate_is_refused_with_both_names(own, tmp_path):
    other = dataclasses.replace(own, key=identity(tmp_path / "other").key)
    with pytest.raises(TlsError, match=r"^BAS_TLS_KEY=.*is not the key .* BAS_TLS_CERT=.*: name"):
        tls_of(other)


def test_a_missing_file_is_named_with_its_setting(own):
    with pytest.raises(TlsError, match=r"^BAS_TLS_CERT=/no/file cannot be read \(No such file"):
        tls_of(dataclasses.replace(own, cert="/no/file"))
    with pytest.raises(TlsError, match=r"^BAS_TLS_KEY=/no/file cannot be read \(No such file"):
        tls_of(dataclasses.replace(own, key="/no/file"))


@pytest.mark.skipif(os.getuid() == 0, reason="root may read every file")
def test_a_key_that_the_user_may_not_read_is_refused_with_the_users_name(own):
    os.chmod(own.key, 0)
    with pytest.raises(TlsError, match=r"^BAS_TLS_KEY=.* may not be read by the user \w+"):
        tls_of(own)


def test_an_expired_certificate_is_refused_with_its_date(tmp_path):
    old = identity(tmp_path, begins=timedelta(days=-9), ends=timedelta(days=-1))
    with pytest.raises(TlsError, match=r"^BAS_TLS_CERT=.* expired on \d{4}-.*: renew"):
        tls_of(old)
    kept = ServerTls(ServerConfig(**old.settings()), SystemClock(), expired_too=True)
    assert "expired on" in kept.warning()


@pytest.mark.parametrize(
    ("begins", "ends", "said"),
    [
        (-80, 10, "expires in 10.0 days"),
        (-5, 1, "expires in 1.0 days"),
        (-1, 5, None),
        (-1, 90, None),
        (2, 90, "is not valid before"),
    ],
)
def test_a_warning_names_a_certificate_near_its_end_or_before_its_time(
    tmp_path, begins, ends, said
):
    one = identity(tmp_path, begins=timedelta(days=begins), ends=timedelta(days=ends))
    warning = tls_of(one).warning()
    assert (warning is None) if said is None else (said in warning)


def test_a_key_with_a_passphrase_is_refused_without_asking_for_it(tmp_path):
    locked = identity(tmp_path, passphrase=b"secret")
    with pytest.raises(TlsError, match=r"^BAS_TLS_KEY=.* has a passphrase: remove it"):
        tls_of(locked)


def test_a_file_that_is_no_certificate_is_refused(own, tmp_path):
    text = tmp_path / "text"
    text.write_text("no certificate")
    with pytest.raises(TlsError, match=r"^BAS_TLS_CERT=.* holds no certificate as PEM"):
        tls_of(dataclasses.replace(own, cert=str(text)))
    with pytest.raises(TlsError, match=r"^BAS_TLS_CLIENT_CA=.* cannot be used"):
        tls_of(own, tls_client_ca=str(text))


async def test_a_reading_counts_although_its_sender_ends_the_connection_at_once(
    container, port, own
):
    def post_and_leave():
        with (
            socket.create_connection(("127.0.0.1", port)) as raw,
            trusting(own).wrap_socket(raw, server_hostname="localhost") as wrapped,
        ):
            wrapped.sendall(POST)

    await asyncio.to_thread(post_and_leave)
    registry = container.base.metrics.registry
    await eventually(
        lambda: registry.get_sample_value("bas_readings_stored_total") == 1, "it is stored"
    )


@pytest.fixture
async def asking(container, own, tmp_path):
    """The port of a server that asks for client certificates, and their authority."""
    authority = identity(tmp_path / "ca", "devices", is_authority=True)
    tls = tls_of(own, tls_client_ca=authority.cert)
    async with serving(container.app, container.posts, tls=tls) as port:
        yield port, authority


async def posted(port, own, sent, client=None):
    """The answer to one post, with the certificate of `client`."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=trusting(own, client=client), server_hostname="localhost"
    )
    try:
        async with asyncio.timeout(BOUND_S):
            writer.write(closing(sent))
            (answer,) = answers(await reader.read())
            return answer
    finally:
        writer.close()


@pytest.mark.parametrize("headers", [{}, {"X-Request-ID": "a"}], ids=["ordinary", "unusual"])
async def test_where_certificates_are_asked_for_a_post_needs_one_or_a_key(
    container, asking, own, tmp_path, headers
):
    port, authority = asking
    device = identity(tmp_path / "device", "pico", signer=authority)
    post = request(b'{"temp_tenths":235,"sensor_ok":true}', headers)
    refused = await posted(port, own, post)
    assert (refused.status, refused.json()["code"]) == (401, "DEVICE_KEY_REQUIRED")
    assert "show a certificate" in refused.json()["message"]
    assert (await posted(port, own, post, device)).status == 200
    key = await container.base.admin.register_device("default", "attic")
    keyed = request(b'{"temp_tenths":235,"sensor_ok":true}', {**headers, "X-Device-Key": key})
    assert (await posted(port, own, keyed)).status == 200


async def test_where_certificates_are_asked_for_a_batch_needs_one_and_a_page_does_not(
    asking, own, tmp_path
):
    port, authority = asking
    rows = b'[{"temp_tenths":235,"sensor_ok":true,"device_id":"attic"}]'
    batch = request(rows, target="/api/sensor_data/batch")
    assert (await posted(port, own, batch)).status == 401
    device = identity(tmp_path / "device", "pico", signer=authority)
    assert (await posted(port, own, batch, device)).status == 200
    assert (await posted(port, own, HELLO)).status == 200


async def test_a_certificate_of_another_authority_makes_no_connection(asking, own, tmp_path):
    port, _ = asking
    stranger = identity(tmp_path / "stranger", "pico")
    with pytest.raises((ConnectionError, ssl.SSLError, ValueError)):
        await posted(port, own, POST, stranger)
