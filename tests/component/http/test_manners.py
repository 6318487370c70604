"""How answers treat caches, compression, misspelt queries and browsers that lost their way."""

from __future__ import annotations

import gzip
import re

import pytest

from server.http import query_names
from tests.support.http import Caller, logged_in, reading


@pytest.fixture
async def anyone(container):
    return Caller(container.app)


@pytest.fixture
async def reader(container):
    return await logged_in(container, "reader")


async def files_of(anyone, page="/"):
    """The paths of the files that a page names."""
    return re.findall(r'(?:src|href)="(/static/[^"]+)"', (await anyone.get(page)).body.decode())


@pytest.mark.parametrize("page", ["/", "/auth/login", "/docs", "/nothing-here"])
async def test_a_file_that_a_page_names_is_kept_for_ever(anyone, page):
    names = await files_of(anyone, page)
    assert names
    for name in names:
        answer = await anyone.get(name)
        assert answer.status == 200, name
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"


async def test_a_file_without_a_version_is_asked_for_each_time_and_one_of_another_is_gone(anyone):
    (name, *_) = await files_of(anyone)
    _, _, version, file = name.split("/")
    assert (await anyone.get(f"/static/{file}")).headers["Cache-Control"] == "no-cache"
    old = f"/static/{'0' * len(version)}/{file}"
    assert (await anyone.get(old)).status == 404


async def test_a_page_that_names_versions_is_asked_for_each_time(anyone):
    assert (await anyone.get("/")).headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", ["/api/status", "/api/telemetry", "/api/health", "/auth/status"])
async def test_no_cache_may_hand_one_caller_s_answer_to_another(anyone, reader, path):
    for caller in (anyone, reader):
        answer = await caller.get(path)
        assert answer.headers["Cache-Control"] == "no-store", answer.status
        assert {"Cookie", "X-Session-ID"} <= set(re.split(", *", answer.headers["Vary"]))


async def test_long_json_is_packed_where_gzip_is_asked_for(anyone, reader):
    for number in range(20):
        await anyone.post("/api/sensor_data", reading(200 + number, device_id="lab"))
    plain = await reader.get("/api/telemetry")
    assert "Content-Encoding" not in plain.headers
    asked = {"Accept-Encoding": "br;q=1, gzip"}
    packed = await reader.get("/api/telemetry", headers=asked)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert int(packed.headers["Content-Length"]) == len(packed.body) < len(plain.body) / 4
    assert gzip.decompress(packed.body) == plain.body
    assert "Accept-Encoding" in packed.headers["Vary"]
    for refused in ("gzip;q=0", "br", "identity"):
        answer = await reader.get("/api/telemetry", headers={"Accept-Encoding": refused})
        assert "Content-Encoding" not in answer.headers, refused
    short = await reader.get("/api/config", headers=asked)
    assert "Content-Encoding" not in short.headers


async def test_an_unknown_query_name_is_ignored_and_named(anyone, reader):
    answer = await reader.get("/api/telemetry?limt=2&limit=1&x%0d%0a%C3%A9=1")
    assert answer.status == 200
    assert answer.headers["X-Unknown-Query"] == "limt, x%0D%0A%C3%A9"
    known = await reader.get("/api/telemetry?limit=1&device_id=lab")
    assert "X-Unknown-Query" not in known.headers
    assert "X-Unknown-Query" not in (await anyone.get("/?from=mail")).headers


async def test_a_device_s_post_with_a_query_is_obeyed(anyone):
    answer = await anyone.post("/api/sensor_data?token=1", reading())
    assert answer.status == 200


async def test_a_new_route_refuses_an_unknown_query_name_and_names_the_nearest(anyone, monkeypatch):
    monkeypatch.setattr(query_names, "LENIENT", query_names.LENIENT - {"/api/telemetry"})
    answer = await anyone.get("/api/telemetry?devise_id=lab")
    assert (answer.status, answer.json()["code"]) == (400, "UNKNOWN_QUERY")
    assert answer.json()["message"] == "devise_id: did you mean device_id?"


async def test_the_text_null_is_no_time(reader):
    for query in ("start=null", "end=NULL", "start=1&start=null"):
        answer = await reader.get(f"/api/telemetry/window?{query}")
        assert (answer.status, answer.json()["code"]) == (400, "INVALID_FIELD"), query
    assert (await reader.get("/api/telemetry?device_id=null")).json() == []


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json"])
async def test_who_has_a_page_already_gets_no_second_copy(anyone, path):
    first = await anyone.get(path)
    tag = first.headers["ETag"]
    for method in ("GET", "HEAD"):
        again = await anyone.open(method, path, headers={"If-None-Match": tag})
        assert (again.status, again.body) == (304, b""), method
        assert again.headers["ETag"] == tag
        assert again.headers["Cache-Control"] == "no-cache"
    other = await anyone.get(path, headers={"If-None-Match": 'W/"another"'})
    assert (other.status, other.body) == (200, first.body)


async def test_the_document_is_made_once_for_each_prefix(anyone, container, monkeypatch):
    made = []
    provider = container.app.extensions["QUART_SCHEMA"].openapi_provider
    schema = provider.schema
    monkeypatch.setattr(provider, "schema", lambda: made.append(1) or schema())
    packed = {"Accept-Encoding": "gzip"}
    tags = {(await anyone.get("/openapi.json", headers=packed)).headers["ETag"] for _ in range(3)}
    tags.add((await anyone.get("/openapi.json")).headers["ETag"])
    assert (len(tags), len(made)) == (1, 1)


@pytest.mark.parametrize("path", ["/openapi.json", "/", "/api/status", "/docs"])
async def test_head_has_the_head_of_get(anyone, path):
    for headers in ({}, {"Accept-Encoding": "gzip"}):
        get = await anyone.get(path, headers=headers)
        head = await anyone.open("HEAD", path, headers=headers)
        for answer in (get, head):
            del answer.headers["X-Request-ID"]
        assert list(head.headers) == list(get.headers)


async def test_a_wrong_address_gets_a_page_with_a_way_home(anyone):
    answer = await anyone.get("/nothing-here")
    assert answer.status == 404
    assert answer.headers["Content-Type"].startswith("text/html")
    assert b'<a href="/">' in answer.body


async def test_browsers_and_robots_get_their_files(anyone):
    icon = await anyone.get("/favicon.ico")
    assert (icon.status, icon.headers["Content-Type"].split(";")[0]) == (200, "image/svg+xml")
    assert b"Disallow: /\n" in (await anyone.get("/robots.txt")).body


async def test_a_stranger_who_asks_for_the_session_is_not_asked_to_log_in_again(anyone):
    answer = await anyone.get("/auth/status")
    assert (answer.status, answer.json()["code"]) == (400, "NO_SESSION")
    assert b"again" not in answer.body


async def test_the_page_of_the_api_takes_less_than_40_kb(anyone):
    parts = [(await anyone.get(path)).body for path in ("/docs", *await files_of(anyone, "/docs"))]
    assert len(parts) == 8
    assert sum(map(len, parts)) < 40_000
