"""Names that were made to act as code are data in every answer: pages, JSON, stream, CSV, log."""

from __future__ import annotations

import csv
import io
import json
import logging

import pytest
from quart import request

from server.common.errors import InvalidField
from server.common.log_lines import LogLines
from tests.component.security.access_table import ROWS
from tests.component.security.hostile_names import HOSTILE_NAMES
from tests.component.security.principals import ADMIN, all_principals
from tests.conftest import PASSWORD
from tests.support.http import Caller, exchange, logged_in, reading
from tests.support.stream import parse_frame

PAGES = ("/", "/auth/login")
each_name = pytest.mark.parametrize("name", HOSTILE_NAMES)
# Types that no browser renders as a page or runs as a script.
DATA = {
    "application/json",
    "text/event-stream; charset=utf-8",
    "text/csv; charset=utf-8",
    "text/plain; version=0.0.4; charset=utf-8",
}


@pytest.fixture
async def hostile(container, clock):
    """The headers of an admin; devices, their metadata and their settings have hostile names."""
    principals = await all_principals(container, clock)
    admin = Caller(container.app, headers=principals[ADMIN])
    for number, name in enumerate(HOSTILE_NAMES):
        body = {"device_id": name, "metadata": {name[:64]: name}}
        assert (await admin.post("/api/devices/register", body)).status == 200
        answer = await admin.post("/api/sensor_data", reading(200 + number, device_id=name))
        assert answer.status == 200
        change = {"setpoint_tenths": 210 + number, "device_id": name}
        assert (await admin.post("/api/set_setpoint", change)).status == 200
    return principals[ADMIN]


async def ask(container, headers, row):
    sent = [(name.lower().encode(), text.encode()) for name, text in headers.items()]
    path, query = row.url or row.path, row.query.encode()
    return await exchange(container.app, path=path, query=query, headers=sent, frames=3)


async def test_no_answer_with_such_a_name_is_a_page_or_a_script(container, hostile):
    """ASVS 5.0.0 V1.2.1, V1.2.3, V3.2.1: data are sent as data, which no browser renders."""
    shown = 0
    for row in (row for row in ROWS if row.method == "GET"):
        answer = await ask(container, hostile, row)
        text = answer.body.decode()
        if "alert(1)" in text:
            shown += 1
            assert answer.headers["Content-Type"] in DATA, str(row)
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert shown >= 6


async def test_the_pages_are_the_same_whatever_the_names_are(container, hostile):
    """ASVS 5.0.0 V1.3.7, V3.5.7: neither pages nor scripts are built from data."""
    anyone = Caller(container.app)
    texts = [(await anyone.get(path)).body for path in PAGES]
    assert not any(b"alert(1)" in text or b"49" in text for text in texts)
    assert texts == [(await anyone.get(path, headers=hostile)).body for path in PAGES]


@pytest.mark.parametrize("name", [name for name in HOSTILE_NAMES if not name.isalpha()])
async def test_no_account_may_have_such_a_name(container, name):
    """ASVS 5.0.0 V2.2.1: an allow list of characters, by every way to make an account."""
    for create in (container.base.admin.create_user, container.base.stores.users.create_user):
        with pytest.raises(InvalidField, match="username"):
            await create(name, PASSWORD, "operator", "default")


@each_name
async def test_a_name_comes_back_unchanged_as_one_json_string(container, clock, name):
    """ASVS 5.0.0 V1.2.3: no name changes the structure of JSON."""
    admin = await logged_in(container, "admin")
    await admin.post("/api/devices/register", {"device_id": name, "metadata": {"name": name}})
    await admin.post("/api/sensor_data", reading(device_id=name))
    await admin.post("/api/set_setpoint", {"setpoint_tenths": 210, "device_id": name})
    (device,) = (await admin.get("/api/devices")).json()
    assert (device["device_id"], device["metadata"]) == (name, {"name": name})
    for path in ("/api/telemetry", "/api/telemetry/window"):
        assert [row["device_id"] for row in (await admin.get(path)).json()] == [name]
    assert (await admin.get("/api/status")).json()["device_id"] == name
    entries = (await admin.get("/api/audit/recent")).json()
    named = [entry["details"]["device_id"] for entry in entries if "device_id" in entry["details"]]
    assert named == [name, name]


async def test_no_name_adds_a_frame_or_a_line_to_the_stream(container, hostile):
    """ASVS 5.0.0 V1.2.1: the snapshot is one frame with one line of data."""
    (row,) = (row for row in ROWS if row.path == "/api/sse/telemetry")
    answer = await ask(container, hostile, row)
    frames = [parse_frame(block) for block in answer.body.split(b"\n\n") if block]
    (snapshot,) = (frame for frame in frames if frame.event == "snapshot")
    assert "\n" not in snapshot.data
    assert {zone["device_id"] for zone in snapshot.json["zones"]} == {"lab", *HOSTILE_NAMES}
    assert {frame.event for frame in frames} <= {None, "hello", "snapshot"}


@each_name
async def test_a_name_is_one_cell_of_an_export_and_no_formula(container, name):
    """ASVS 5.0.0 V1.2.10, V5.4.1, V5.4.2: RFC 4180, no formula, a plain file name."""
    operator = await logged_in(container, "operator")
    await operator.post("/api/sensor_data", reading(device_id=name))
    client = container.app.test_client(use_cookies=False)
    response = await client.get(
        "/api/telemetry/export.csv", headers=operator.headers, query_string={"device_id": name}
    )
    rows = list(csv.reader(io.StringIO((await response.get_data()).decode())))
    assert [len(row) for row in rows] == [10, 10]
    assert rows[1][2] in {name, f"'{name}"}
    assert not rows[1][2].startswith(("=", "+", "-", "@", "\t", "\r", "\0"))
    disposition = response.headers["Content-Disposition"]
    assert set(disposition.partition("filename=")[2][1:-1]) <= set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
    )
    assert disposition.startswith('attachment; filename="readings-')


LINES = ["x\nERROR all is lost", "x\r\nERROR all is lost", "x\x85ERROR", "x\u2028ERROR", "x\x1b[2J"]


@pytest.mark.parametrize("text", LINES)
async def test_no_text_of_a_request_adds_a_line_to_the_log(container, caplog, text):
    """ASVS 5.0.0 V16.4.1: log lines cannot be forged or broken."""

    @container.app.before_request
    async def break_down():
        if request.path.startswith("/api/broken"):
            raise RuntimeError(request.path)

    caplog.set_level(logging.DEBUG)
    anyone = Caller(container.app)
    await anyone.log_in(text)
    await anyone.log_in("operator", text)
    await anyone.post_text("/auth/login", json.dumps({text: text}))
    await anyone.post("/api/sensor_data", reading(device_id=text))
    await anyone.post("/api/sensor_data", reading(), headers={"X-Device-Key": text.encode().hex()})
    for path in (f"/{text}", f"/api/{text}", f"/static/{text}"):
        for method in ("GET", "POST", "BREW"):
            await exchange(container.app, method, path)
    await exchange(container.app, path="/", headers=[(b"host", text.encode())])
    operator = await logged_in(container, "operator")
    await operator.get("/api/telemetry", headers={"X-BAS-Tenant": text.replace("\n", "")[:1]})
    await exchange(container.app, path=f"/api/broken/{text}")
    assert "GET /api/broken/x" in caplog.text
    for record in caplog.records:
        record.exc_info = record.exc_text = None  # a traceback has lines of its own
        assert LogLines().format(record).isprintable()
