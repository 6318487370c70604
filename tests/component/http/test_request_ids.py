"""X-Request-ID: taken or made, in the answer and in the log lines of the request."""

from __future__ import annotations

import logging
import re

import pytest

from server.common.log_lines import LogLines
from server.common.request_id import current_request
from server.services.ports.documents import StoreUnavailable
from tests.support.http import Caller, logged_in, reading
from tests.support.stream import eventually


@pytest.fixture
def anyone(container):
    return Caller(container.app)


async def test_an_id_that_was_sent_is_in_the_answer(anyone):
    answer = await anyone.get("/api/status", headers={"X-Request-ID": "from-proxy:1.a_B"})
    assert answer.headers["X-Request-ID"] == "from-proxy:1.a_B"


@pytest.mark.parametrize("sent", [None, "", "x" * 65, "a b", "<script>", "é"])
async def test_without_a_valid_id_the_server_makes_one(anyone, sent):
    headers = {} if sent is None else {"X-Request-ID": sent}
    first = (await anyone.get("/healthz", headers=headers)).headers["X-Request-ID"]
    second = (await anyone.get("/healthz", headers=headers)).headers["X-Request-ID"]
    assert re.fullmatch("[0-9a-f]{16}", first)
    assert first != second


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/api/nothing", {}), ("/", {"Host": "evil.example"}), ("/metrics", {}), ("/static/x", {})],
)
async def test_each_answer_has_one_also_of_an_error(anyone, path, headers):
    answer = await anyone.get(path, headers=headers | {"X-Request-ID": "here"})
    assert answer.headers.getlist("X-Request-ID") == ["here"]


async def test_the_lines_of_a_request_show_its_id(container, caplog):
    caplog.set_level(logging.INFO)
    caplog.handler.setFormatter(LogLines())
    operator = await logged_in(container, "operator")
    await operator.post("/api/sensor_data", reading(device_id="hall"))
    body = {"setpoint_tenths": 215, "device_id": "hall"}
    answer = await operator.post(
        "/api/set_setpoint", body, headers={"X-Request-ID": "change-of-the-day"}
    )
    assert answer.status == 200, answer.body
    (line,) = [line for line in caplog.text.splitlines() if "setpoint 21.5 °C" in line]
    assert "[change-of-the-day] zone 'hall' of tenant 'default': setpoint 21.5 °C (before: " in line
    assert "set by 'operator' from" in line


async def test_work_that_outlasts_a_request_does_not_show_its_id(container, caplog):
    caplog.handler.setFormatter(LogLines())
    token = current_request.set("met-the-outage")
    container.base.stores.watch.lose(StoreUnavailable(message="the disk is full"))
    current_request.reset(token)
    await eventually(lambda: "readings are stored again" in caplog.text, "the store is back")
    assert "[met-the-outage] readings are not stored" in caplog.text
    assert "[met-the-outage] readings are stored again" not in caplog.text
