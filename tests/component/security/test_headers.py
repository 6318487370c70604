"""The security headers of errors, of static files, and of what Quart never sees.

Those of each route are checked with its access (test_access.py).
"""

from __future__ import annotations

from pathlib import Path

import pytest
from quart import Blueprint

from tests.component.security.access_table import ROWS
from tests.component.security.principals import EVERYONE, all_principals
from tests.component.security.promised_headers import missing
from tests.support.http import Caller, lose_store, reading, served
from tests.support.serving import ask, request

PROXY = "10.0.0.1"
HSTS = "max-age=31536000; includeSubDomains"


def static_files(app):
    folder = Path(app.static_folder)
    return [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]


@pytest.fixture
def anyone(container):
    return Caller(container.app)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/static/no-such-file.js", 404),
        ("GET", "/static//api.js", 308),
        ("GET", "/no/such/page", 404),
        ("GET", "/api/nothing", 404),
        ("GET", "/api/status?device_id=nowhere", 404),
        ("GET", "/api/status?device_id=" + "x" * 200, 400),
        ("POST", "/", 405),
        ("POST", "/api/sensor_data", 400),
        ("BREW", "/api/telemetry", 405),
    ],
)
async def test_errors_and_redirects_have_the_security_headers(anyone, method, path, status):
    """ASVS 5.0.0 V3.4.3, V3.4.4, V3.4.5, V3.4.6."""
    answer = await anyone.open(method, path)
    assert (answer.status, missing(answer)) == (status, {})


async def test_refused_bodies_and_hosts_have_the_security_headers(anyone):
    """ASVS 5.0.0 V3.4.3, V3.4.4, V3.4.5, V3.4.6."""
    for data, kind, status in ((b"x" * 300_000, "application/json", 413), (b"x", "x/y", 415)):
        answer = await anyone.post("/api/sensor_data", data=data, headers={"Content-Type": kind})
        assert (answer.status, missing(answer)) == (status, {})
    answer = await anyone.get("/api/status", headers={"Host": "evil.example"})
    assert (answer.status, missing(answer)) == (421, {})


async def test_an_unexpected_error_says_nothing_about_the_server_and_has_the_headers(container):
    """ASVS 5.0.0 V16.5.1, V16.5.4, V13.4.2: a generic message, no stack trace."""
    extension = Blueprint("extension", __name__)

    @extension.get("/api/broken")
    async def broken():
        raise RuntimeError("the secret is /etc/passwd")

    container.app.register_blueprint(extension)
    answer = await Caller(container.app).get("/api/broken")
    assert (answer.status, missing(answer)) == (500, {})
    assert answer.json() == {"error": "Internal server error", "code": "INTERNAL"}


async def test_an_answer_without_the_store_has_the_security_headers(container, anyone):
    """ASVS 5.0.0 V3.4.3, V3.4.4, V16.5.2."""
    await lose_store(container)
    for answer in (await anyone.get("/api/status"), await anyone.get("/readyz")):
        assert (answer.status, missing(answer)) == (503, {})


async def test_a_device_s_post_has_the_security_headers_before_quart_too(container, port, in_quart):
    """ASVS 5.0.0 V3.4.3, V3.4.4, V3.4.5, V3.4.6."""
    await container.base.admin.register_device("default", "lab")
    good, refused = b'{"temp_tenths": 1, "sensor_ok": true', b', "device_id": "lab"'
    for body, status in ((good + b"}", 200), (good + refused + b"}", 401)):
        (answer,) = await ask(port, request(body, {"Connection": "close"}))
        assert (answer.status, missing(answer)) == (status, {})
    assert in_quart == []


async def test_every_static_file_has_the_security_headers(container, anyone):
    """ASVS 5.0.0 V3.4.3, V3.4.4, V4.1.1."""
    names = static_files(container.app)
    assert names
    for name in names:
        answer = await anyone.get(f"/static/{name}")
        assert (answer.status, missing(answer)) == (200, {})


async def test_strict_transport_security_is_sent_over_https_and_only_there(container, clock):
    """ASVS 5.0.0 V3.4.1: at least a year, and for all subdomains."""
    principals = await all_principals(container, clock)
    for row in ROWS:
        if row.path == "/api/sse/telemetry":  # the test client would wait for its end
            continue
        for who in (next(iter(EVERYONE)), EVERYONE[3]):
            caller = Caller(container.app, headers=principals[who])
            request = {"json": reading()} if row.body else {}
            for scheme, expected in (("http", None), ("https", HSTS)):
                answer = await caller.open(
                    row.method, row.url or row.path, scheme=scheme, **request
                )
                assert answer.headers.get("Strict-Transport-Security") == expected, str(row)


async def test_https_to_a_trusted_proxy_counts_as_https(config, clock):
    """ASVS 5.0.0 V3.4.1, V4.1.3: an end user cannot override a header of an intermediary."""
    from_env = type(config).from_env({"BAS_TRUSTED_PROXIES": "10.0.0.0/8"})
    forwarded = {"X-Forwarded-Proto": "https"}
    async with served(config, clock, trusted_proxies=from_env.trusted_proxies) as container:
        trusted = await Caller(container.app, PROXY).get("/", headers=forwarded)
        untrusted = await Caller(container.app, "192.0.2.1").get("/", headers=forwarded)
    assert trusted.headers["Strict-Transport-Security"] == HSTS
    assert "Strict-Transport-Security" not in untrusted.headers


async def test_without_trusted_proxies_a_forwarded_https_is_ignored(anyone):
    """ASVS 5.0.0 V4.1.3: an end user cannot override a header of an intermediary."""
    answer = await anyone.get("/", headers={"X-Forwarded-Proto": "https"})
    assert "Strict-Transport-Security" not in answer.headers
