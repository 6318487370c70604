"""The plain port speaks no HTTP/2: it refuses the preface, and ignores a wish to upgrade."""

from __future__ import annotations

import asyncio
import logging

import h2.config
import h2.connection
import h2.errors
import h2.events
import pytest

from tests.support.serving import serving

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
UPGRADE = (
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\n"
    b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n"
)
POSTS = 100


@pytest.fixture
async def port(container):
    async with serving(container.app, container.posts) as number:
        yield number


async def talk(port, *pieces):
    """All that the server answers to these pieces until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(30):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_a_client_that_begins_with_http2_learns_that_it_must_use_http1(port):
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.initiate_connection()
    events = client.receive_data(await talk(port, client.data_to_send()))
    ends = [one for one in events if isinstance(one, h2.events.ConnectionTerminated)]
    assert [one.error_code for one in ends] == [h2.errors.ErrorCodes.HTTP_1_1_REQUIRED]
    assert ends[0].additional_data == b"this port speaks HTTP/1.1 only"


async def test_a_preface_that_comes_in_two_pieces_is_refused_too(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(PREFACE[:10])
    await writer.drain()
    await asyncio.to_thread(lambda: None)
    writer.write(PREFACE[10:])
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    assert b"HTTP/1.1 505 HTTP Version Not Supported\r\n" in answer or b"HTTP/1.1 only" in answer


async def test_a_wish_to_go_on_in_http2_is_ignored(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(UPGRADE)
    async with asyncio.timeout(30):
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    writer.close()


async def test_a_hundred_unfinished_posts_of_http2_are_held_nowhere_and_write_no_line(
    container, port, caplog
):
    caplog.set_level(logging.INFO)
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.initiate_connection()
    head = [(":method", "POST"), (":path", "/api/sensor_data"), (":scheme", "http")]
    for number in range(POSTS):
        client.send_headers(2 * number + 1, [*head, (":authority", "localhost")])
        client.send_data(2 * number + 1, b"{" * 40)
    answer = await talk(port, client.data_to_send())
    # The kernel may reset the connection, since the server did not read all of it.
    assert not answer or b"HTTP/1.1 only" in answer
    assert caplog.messages == []
