"""POST /api/v2/write: the rules of a batch, with the answers of InfluxDB."""

from __future__ import annotations

import pytest

from tests.support.http import Caller, lose_store, stored

WRITE = "/api/v2/write"
TEXT = {"Content-Type": "text/plain"}


async def write(container, body, query="", **headers):
    sent = TEXT | {name.replace("_", "-"): text for name, text in headers.items()}
    return await Caller(container.app).open("POST", WRITE + query, data=body, headers=sent)


async def test_a_refused_line_is_named_and_the_others_are_stored(container):
    answer = await write(container, "attic temperature=21\nwrong temperature\n")
    assert (answer.status, answer.json()["code"]) == (400, "PARTIAL_WRITE")
    assert "1 of 2" in answer.json()["message"]
    assert [row.device_id for row in await stored(container)] == ["attic"]


async def test_a_key_comes_as_influxdb_s_token_and_names_its_device(container):
    key = await container.base.admin.register_device("default", "attic")
    good = await write(container, "attic temperature=21", Authorization=f"Token {key}")
    assert (good.status, good.body) == (204, b"")
    for token, code in ((f"Token {key}", "DEVICE_MISMATCH"), ("Token no", "INVALID_DEVICE_KEY")):
        answer = await write(container, "cellar temperature=21", Authorization=token)
        assert answer.json()["code"] == code
    assert (await write(container, "attic temperature=21")).status == 401
    assert [row.device_id for row in await stored(container)] == ["attic"]


@pytest.mark.parametrize("query", ["?precision=h", "?field=", "?tag=" + "x" * 200])
async def test_a_wrong_query_is_refused(container, query):
    answer = await write(container, "attic temperature=21", query)
    assert (answer.status, await stored(container)) == (400, [])


async def test_another_site_s_page_cannot_write(container):
    answer = await write(container, "attic temperature=21", Origin="https://evil.example")
    assert (answer.status, answer.json()["code"]) == (403, "CSRF_REFUSED")


async def test_without_the_store_the_answer_is_503_so_that_the_body_comes_again(container):
    await write(container, "attic temperature=21 1790000000000000000")
    await lose_store(container)
    answer = await write(container, "attic temperature=21 1790000001000000000")
    assert (answer.status, answer.json()["code"]) == (503, "STORE_UNAVAILABLE")
