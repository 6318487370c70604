"""The existing application beside this server under its own name, `bas_server`."""

from __future__ import annotations

import asyncio
import sys

import pytest

from server.sync_api.wsgi_environ import session_ids
from server.sync_api.wsgi_loading import LegacyAppError, load
from tests.support import legacy
from tests.support.stream import caller, log_in
from tools.process import REPOSITORY, ServerProcess

FILE = REPOSITORY / "tests" / "support" / "existing" / "bas_server.py"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("existing")
    settings = {"BAS_LEGACY_WSGI": f"{FILE}:app", "BAS_LEGACY_PREFIX": "/old"}
    database = str(legacy.empty(folder / "bas_telemetry.db"))
    settings |= {"EXISTING_DATABASE": database, "BAS_LEGACY_MIRROR": database}
    with ServerProcess(folder, **settings) as running:
        yield running


async def test_it_is_loaded_by_its_path_and_its_modules_find_it_by_its_name(server):
    async with caller(server.url) as client:
        assert (await client.get("/further")).text == "a further route"


async def test_its_pages_are_below_the_prefix_also_those_that_this_server_has(server):
    async with caller(server.url) as client:
        assert (await client.get("/old")).headers["Location"].endswith("/old/")
        for path in ("/old/", "/%6Fld/"):
            assert (await client.get(path)).text == "the old dashboard"
        assert (await client.get("/old/api/status")).json() == {"old": True}
        assert "trust" in (await client.get("/api/status")).json()
        assert (await client.get("/old/moved")).headers["Location"] == "/old/"
        assert (await client.get("/older")).status_code == 404


async def test_its_protected_routes_take_the_sessions_of_this_server(server):
    session = await log_in(server.url, "admin", server.password)
    cookies = [
        f"bas_session_id={session}",
        f"bas_session_id=x; bas_session_id_{server.port}={session}",
    ]
    async with caller(server.url) as client:
        assert (await client.get("/old/reports")).status_code == 401
        wrong = await client.get("/old/reports", headers={"X-Session-ID": "x" * 40})
        assert wrong.status_code == 401
        for headers in ({"X-Session-ID": session}, *({"Cookie": one} for one in cookies)):
            answer = await client.get("/old/reports", headers=headers)
            assert answer.json() == {"user": "admin", "readings": []}
    async with caller(server.url, session) as client:
        assert (await client.post("/auth/logout", json={})).status_code == 200
        assert (await client.get("/old/reports")).status_code == 401


async def test_its_views_show_the_readings_that_this_server_stores(server):
    session = await log_in(server.url, "admin", server.password)
    async with caller(server.url, session) as client, asyncio.timeout(60):
        for body in ({"temp_tenths": 215, "sensor_ok": True}, {"sensor_ok": False}):
            assert (await client.post("/api/sensor_data", json=body)).status_code == 200
        expected = [[215, "IDLE_WITH_LEDS", 1], [None, "FAULT", 0]]
        while (await client.get("/old/reports")).json()["readings"] != expected:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def test_session_ids_count_in_the_order_of_this_server_s_own_routes():
    environ = {
        "HTTP_HOST": "bas.example",
        "wsgi.url_scheme": "https",
        "HTTP_X_SESSION_ID": "header",
        "HTTP_COOKIE": "bas_session_id=last; a=b; bas_session_id_443=port; "
        "__Host-bas_session_id_443=first; bas_session_id_80=other",
    }
    assert session_ids(environ) == ["header", "first", "port", "last"]
    assert session_ids({"wsgi.url_scheme": "http", "HTTP_COOKIE": "\x00;=;;"}) == []


def test_a_module_of_this_server_keeps_its_name_and_a_missing_file_is_named(tmp_path):
    own = sys.modules.get("tests")
    (tmp_path / "tests.py").write_text(
        "import tests\nassert tests.__file__ == __file__\napp = print\n"
    )
    assert load(f"{tmp_path}/tests.py:app") is print
    assert sys.modules["tests"] is own
    with pytest.raises(LegacyAppError, match="is not there"):
        load(f"{tmp_path}/missing.py:app")
