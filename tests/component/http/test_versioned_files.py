"""The files that a page names are answered without Quart, as Quart would answer."""

from __future__ import annotations

import gzip
from dataclasses import replace

import pytest

from tests.support.http import Caller, served

OTHER_SITE = "https://panel.example"
# The cache rule, what Quart adds for a file that may change, and what is of one answer alone.
DIFFERENT = {
    *("cache-control", "etag", "last-modified", "expires", "accept-ranges"),
    *("date", "x-request-id", "vary"),
}


def compared(answer):
    headers = {name.lower(): text for name, text in answer.headers.items()}
    return answer.status, {n: t for n, t in headers.items() if n not in DIFFERENT}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_every_file_has_the_answer_that_the_application_gives(container, in_quart, method):
    anyone = Caller(container.app)
    assert len(container.app.files.sizes) > 50
    for name in container.app.files.sizes:
        # As a browser asks for a module.
        asked = {"Origin": "http://localhost"}
        alone = await anyone.open(method, container.app.files.url(name), headers=asked)
        assert in_quart == []
        quart = await anyone.open(method, f"/static/{name}")
        assert in_quart == [f"/static/{name}"]
        assert compared(alone) == compared(quart), name
        assert alone.body == quart.body, name
        in_quart.clear()


async def test_a_page_of_another_site_that_is_allowed_may_use_the_files(config, clock):
    async with served(replace(config, cors_origins=(OTHER_SITE,)), clock) as container:
        url = container.app.files.url("api.js")
        anyone = Caller(container.app)
        answer = await anyone.get(url, headers={"Origin": OTHER_SITE})
        assert answer.headers["Access-Control-Allow-Origin"] == OTHER_SITE
        assert "Origin" in (await anyone.get(url)).headers["Vary"]


async def test_a_long_text_is_packed_where_gzip_is_asked_for(container):
    anyone = Caller(container.app)
    url = container.app.files.url("zone_list.js")
    plain = await anyone.get(url)
    packed = await anyone.get(url, headers={"Accept-Encoding": "br, gzip;q=0.5"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) == int(packed.headers["Content-Length"]) < len(plain.body) / 2
    refused = await anyone.get(url, headers={"Accept-Encoding": "br, gzip;q=0"})
    assert refused.body == plain.body
    # A cache may keep all three.
    assert {one.headers["Vary"] for one in (plain, packed, refused)} == {"Accept-Encoding"}
    short = container.app.files.url("icon.svg")
    answer = await anyone.get(short, headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in answer.headers
