"""New connections: ordinary posts are answered in turn, and all other data go on to Hypercorn."""

from __future__ import annotations

import asyncio
import json
import socket
import struct

import pytest

from server.http import connections, device_connection, plain_posts
from server.http.serve import listen
from tests.support.http import BOUND_S, lose_store, stored
from tests.support.serving import HELLO, answers, ask, request, serving
from tests.support.stream import eventually

CLOSE = {"Connection": "close"}
FOR_EVER_S = 600.0


def post(temp_tenths, headers=None, **about):
    return request(b'{"temp_tenths": %d, "sensor_ok": true}' % temp_tenths, headers, **about)


async def temperatures(container):
    return sorted(reading.temp_tenths for reading in await stored(container))


@pytest.mark.parametrize("size", [1, 7, 100, 1000])
async def test_a_post_in_pieces_is_one_post(container, port, in_quart, size):
    whole = post(301, CLOSE)
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    (answer,) = await ask(port, *pieces)
    assert answer.status == 200
    assert await temperatures(container) == [301]
    assert in_quart == []


async def test_posts_that_arrive_together_are_answered_in_their_order(container, port):
    hot = [request(b'{"temp_tenths": 900, "sensor_ok": true, "device_id": "roof"}')] * 20
    bad = request(b'{"temp_tenths": 900, "device_id": 7}')
    found = await ask(port, b"".join([*hot, bad, *hot, HELLO, post(301, CLOSE)]))
    assert [answer.status for answer in found] == [200] * 20 + [400] + [200] * 22
    assert [len(answer.headers.getlist("Content-Security-Policy")) for answer in found] == [1] * 43
    assert await temperatures(container) == [301] + [900] * 40


async def test_a_sender_that_reads_no_answers_is_slowed_down_and_answered_in_the_end(container):
    sent = 1500
    with listen("127.0.0.1", 0) as listening, socket.socket() as sock:
        for one in (listening, sock):
            for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                one.setsockopt(socket.SOL_SOCKET, buffer, 8192)
        sock.connect(listening.getsockname())
        sock.setblocking(False)
        async with serving(container.app, container.posts, sock=listening):
            reader, writer = await asyncio.open_connection(sock=sock, limit=1000)
            sending = asyncio.create_task(_send(writer, post(301), sent))
            answered = -1
            while answered < (answered := len(await stored(container))):
                await asyncio.wait({sending}, timeout=0.3)
            assert 0 < answered < sent
            assert not sending.done()
            found = bytearray()
            while found.count(b"HTTP/1.1 200 OK") < sent or not found.endswith(b"}"):
                found += await reader.read(65536)
            await sending
            writer.close()
    assert len(answers(bytes(found))) == len(await stored(container)) == sent


async def _send(writer, piece, times):
    for _ in range(times):
        writer.write(piece)
        await writer.drain()


@pytest.mark.parametrize(
    ("headers", "version"), [({}, "1.0"), ({"Connection": "keep-alive"}, "1.0"), (CLOSE, "1.1")]
)
async def test_a_connection_without_keep_alive_is_closed_after_the_answer(
    container, port, in_quart, headers, version
):
    (answer,) = await ask(port, post(301, headers, version=version))
    assert (answer.status, answer.headers["Connection"]) == (200, "close")
    assert in_quart == []


@pytest.mark.parametrize("ends", [(b"\r\n", b"\n"), (b"\r\n\r\n", b"\n\r\n")])
async def test_lines_that_end_without_a_cr_are_parsed_at_once(container, port, monkeypatch, ends):
    monkeypatch.setattr(device_connection, "REST_S", FOR_EVER_S)
    (answer,) = await ask(port, post(301, CLOSE).replace(*ends))
    assert answer.status == 200


@pytest.mark.parametrize("end", [b"\n\n", b"\n\r\n", b"\r\n\n"])
async def test_a_head_that_ends_without_crs_does_not_swallow_the_next_post(container, port, end):
    found = await ask(port, post(301).replace(b"\r\n\r\n", end) + post(302, CLOSE))
    assert [answer.status for answer in found] == [200, 200]
    assert await temperatures(container) == [301, 302]


async def test_requests_after_a_post_on_its_connection_are_answered_too(container, port, in_quart):
    found = await ask(port, post(301), HELLO, post(302), post(303, CLOSE))
    assert [answer.status for answer in found] == [200] * 4
    assert await temperatures(container) == [301, 302, 303]
    assert in_quart == ["/healthz", "/api/sensor_data", "/api/sensor_data"]


# A header without a meaning, which makes a post go to Quart.
WAYS = {"fast": {}, "by Quart": {"X-Firmware": "7"}}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "ends", [[b"\r\n"], [b"\n"], [b"\r\n\r\n"], [b"\r", b"\n"], [b"\r\n\r", b"\n"]]
)
async def test_an_empty_line_after_a_body_does_not_spoil_the_next_post(
    container, port, in_quart, way, ends
):
    headers = WAYS[way]
    pieces = [post(301, headers) + ends[0], *ends[1:], post(302, headers), *ends]
    found = await ask(port, *ends, *pieces, post(303, headers | CLOSE) + b"\r\n")
    assert [answer.status for answer in found] == [200] * 3
    assert await temperatures(container) == [301, 302, 303]
    assert len(in_quart) == (0 if way == "fast" else 3)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_an_empty_line_after_the_last_body_does_not_prevent_its_answer(
    container, port, way, version
):
    sent = post(301, WAYS[way] | CLOSE, version=version)
    (answer,) = await ask(port, sent + b"\r\n")
    assert answer.status == 200
    assert await temperatures(container) == [301]


@pytest.mark.parametrize("way", WAYS)
async def test_too_many_empty_lines_are_a_bad_request(container, port, way):
    found = await ask(port, post(301, WAYS[way]), b"\r\n" * 100)
    assert [answer.status for answer in found] == [200, 400]


async def test_the_connection_of_a_client_that_hangs_up_after_an_empty_line_closes_at_once(
    port, in_quart, monkeypatch
):
    monkeypatch.setattr(device_connection, "REST_S", FOR_EVER_S)
    async with asyncio.timeout(BOUND_S):
        found = await _until_quiet(port, post(301) + b"\r\n")
    assert found.count(b"HTTP/1.1 200 OK") == found.count(b"HTTP/1.1") == 1
    assert in_quart == []


async def test_an_empty_line_does_not_keep_a_connection_open(container, monkeypatch):
    monkeypatch.setattr(connections, "KEEP_ALIVE_S", 0.05)
    monkeypatch.setattr(device_connection, "REST_S", 0.05)
    async with serving(container.app, container.posts) as port:
        found = await ask(port, post(301) + b"\r\n", b"\r")
    assert [answer.status for answer in found] == [200]


HOSTILE = {
    "two lengths": post(301).replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n"),
    "length and chunks": post(301, {"Transfer-Encoding": "chunked"}),
    "negative length": post(301, {"Content-Length": "-1"}),
    "length in words": post(301, {"Content-Length": "many"}),
    "length with a sign": post(301, {"Content-Length": "+36"}),
    "folded header": post(301, {"Accept": "a\r\n b"}),
    "space before the colon": post(301).replace(b"Host:", b"Host :"),
    "no host": post(301).replace(b"Host: localhost\r\n", b""),
    "two hosts": post(301).replace(b"Host: localhost\r\n", b"Host: localhost\r\nHost: y\r\n"),
    "no version": post(301, version="1.x"),
    "a nul": post(301, {"User-Agent": "a\0b"}),
    "long head": post(301, {"User-Agent": "x" * 2000}),
    "a query": post(301, target="/api/sensor_data?device_id=roof"),
    "a longer path": post(301, target="/api/sensor_data/"),
    "upgrade": post(301, {"Connection": "upgrade", "Upgrade": "h2c"}),
    "expectation": post(301, {"Expect": "100-continue"}),
    "nothing of HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20,
    "another protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_an_unusual_request_is_answered_as_by_hypercorn(container, port, monkeypatch, name):
    async with asyncio.timeout(60):
        here = await _until_quiet(port, HOSTILE[name])
        monkeypatch.setattr(plain_posts, "ordinary_head", lambda head: None)
        there = await _until_quiet(port, HOSTILE[name])
    assert here.count(b"HTTP/1.1") == there.count(b"HTTP/1.1")
    assert here[:12] == there[:12]


async def _until_quiet(port, sent):
    """The answers until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    writer.write_eof()
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_a_post_whose_client_hangs_up_within_its_body_is_not_stored(container, port):
    whole = post(301)
    for end in (len(whole) - 1, len(whole) - 20, 30):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(whole[:end])
        writer.write_eof()
        await reader.read()
        writer.close()
    assert await stored(container) == []


def storing(container):
    """The object and the name of the method that stores a plain post of a device without a key."""
    batches = container.posts._posts._batches
    return batches, "accept_keyless" if batches.checks_keys else "accept_one"


async def test_a_reading_is_stored_although_its_client_has_hung_up(container, port):
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(post(301))
    await writer.drain()
    writer.transport.abort()
    await eventually(lambda: temperatures(container), "the reading is stored")
    assert await temperatures(container) == [301]


async def test_a_lost_connection_counts_as_open_until_its_post_is_stored(container, port):
    held = asyncio.Event()
    batches, name = storing(container)
    accept = getattr(batches, name)
    begun = []

    async def later(*arguments):
        begun.append(arguments)
        await held.wait()
        return await accept(*arguments)

    setattr(batches, name, later)
    for number in range(8):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post(301 + number))
        await eventually(lambda n=number: len(begun) > n, "the post is in work")
        linger = struct.pack("ii", 1, 0)  # the connection is reset, not only half-closed
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
    assert [await _has_room(port) for _ in range(10)] == [False] * 10
    held.set()
    await eventually(lambda: _has_room(port), "there is room again")

    async def all_stored():
        return await temperatures(container) == list(range(301, 309))

    await eventually(all_stored, "all readings are stored, and no other")


async def _has_room(port):
    try:
        hello = HELLO.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        return [answer.status for answer in await ask(port, hello)] == [200]
    except ConnectionError:
        return False


async def test_the_server_waits_for_the_rest_of_a_slow_post(container, port, in_quart, monkeypatch):
    monkeypatch.setattr(device_connection, "REST_S", 0.05)
    whole = post(301, CLOSE)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(whole[:-10])
    await eventually(lambda: in_quart, "Quart has the post")
    writer.write(whole[-10:])
    (answer,) = answers(await reader.read())
    writer.close()
    assert answer.status == 200
    assert await temperatures(container) == [301]


@pytest.mark.parametrize("first", [b"", post(301)])
async def test_a_connection_without_a_request_is_closed(container, monkeypatch, first):
    monkeypatch.setattr(connections, "KEEP_ALIVE_S", 0.05)
    monkeypatch.setattr(device_connection, "REST_S", 0.05)
    async with serving(container.app, container.posts) as port:
        found = await ask(port, first)
    assert len(found) == (1 if first else 0)


async def test_a_connection_with_half_a_post_is_not_closed_when_its_idle_time_ends(
    container, monkeypatch
):
    monkeypatch.setattr(connections, "KEEP_ALIVE_S", 0.1)
    async with serving(container.app, container.posts) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post(301, CLOSE)[:-10])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await reader.read()
        writer.write(post(301, CLOSE)[-10:])
        (answer,) = answers(await reader.read())
        writer.close()
    assert answer.status == 200


async def test_each_post_on_a_shared_connection_is_identified_by_its_own_key(
    container, port, in_quart
):
    keys = [await container.base.admin.register_device("default", name) for name in ("a", "b")]
    sent = [post(300 + n, {"X-Device-Key": key}) for n, key in enumerate(keys * 2)]
    found = await ask(port, *sent, post(1, {"X-Device-Key": "wrong"}), post(304, CLOSE))
    assert [answer.status for answer in found] == [200] * 4 + [401, 200]
    assert {one.temp_tenths: one.device_id for one in await stored(container)} == {
        300: "a",
        301: "b",
        302: "a",
        303: "b",
        304: "unknown",
    }
    assert in_quart == []


async def test_a_post_in_progress_at_the_shutdown_is_answered_with_connection_close(container):
    stop, held = asyncio.Event(), asyncio.Event()
    batches, name = storing(container)
    accept = getattr(batches, name)

    async def later(*arguments):
        stop.set()
        await held.wait()
        return await accept(*arguments)

    setattr(batches, name, later)
    async with serving(container.app, container.posts, stop=stop) as port:
        asking = asyncio.create_task(ask(port, post(301)))
        silent = asyncio.create_task(ask(port, post(302)[:20]))
        await stop.wait()
        asyncio.get_running_loop().call_later(0.3, held.set)
        (answer,) = await asking
        assert (answer.status, answer.headers["Connection"]) == (200, "close")
        assert await silent == []
    assert await temperatures(container) == [301]


@pytest.mark.parametrize("hangs_up", [False, True])
async def test_a_post_that_hangs_is_given_up_at_the_shutdown(
    container, monkeypatch, caplog, hangs_up
):
    monkeypatch.setattr(connections, "FINISH_S", 0.1)
    begun = asyncio.Event()

    async def for_ever(*arguments):
        begun.set()
        await asyncio.Event().wait()

    setattr(*storing(container), for_ever)
    async with serving(container.app, container.posts) as port:
        asking = asyncio.create_task(ask(port, post(301)))
        await begun.wait()
        if hangs_up:
            asking.cancel()
    assert hangs_up or await asking == []
    assert "did not close in time" not in caplog.text
    assert len(container.control.work) == 1
    await container.control.work.close(0.05)
    assert len(container.control.work) == 0


async def test_the_answers_without_a_store_say_so_and_keep_the_connection(container, port):
    await lose_store(container)
    found = await ask(port, post(301), post(302, CLOSE))
    assert [(answer.status, json.loads(answer.body)["stored"]) for answer in found] == [
        (200, False)
    ] * 2
