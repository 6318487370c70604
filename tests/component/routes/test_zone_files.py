"""/api/zones.csv: out, in with a dry run, and all or nothing."""

from __future__ import annotations

import pytest

from server.control.zones import import_service
from tests.support.http import Caller, audited, logged_in, reading


@pytest.fixture
async def admin(container):
    for device_id in ("lab", "=1+1", "a,b"):
        await Caller(container.app).post("/api/sensor_data", reading(device_id=device_id))
    return await logged_in(container, "admin")


async def sent(caller, text, query=""):
    return await caller.post(f"/api/zones.csv{query}", {"csv": text})


async def test_an_exported_file_changes_nothing_and_a_changed_one_does_what_the_dry_run_said(
    container, admin
):
    answer = await admin.get("/api/zones.csv")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    text = answer.body.decode()
    assert sorted(text.splitlines()[1:]) == sorted(
        [f"{name},,,23.0,1.0,," for name in ('"\'=1+1"', '"a,b"', "lab")]
    )
    same = (await sent(admin, text)).json()
    assert (same["unchanged"], same["changed"], same["lines"]) == (3, 0, [])
    changed = text.replace("lab,,,23.0", "lab,-Lab-,Roof,21.5").replace(",,\n", ",,\r\n")
    before = await admin.get("/api/zones.csv")
    dry = (await sent(admin, changed, "?dry_run=true")).json()
    assert (await admin.get("/api/zones.csv")).body == before.body
    (line,) = dry["lines"]
    assert line["changes"] == {
        "name": {"old": "", "new": "-Lab-"},
        "location": {"old": "", "new": "Roof"},
        "setpoint_tenths": {"old": 230, "new": 215},
    }
    done = (await sent(admin, changed)).json()
    assert done == dry | {"dry_run": False}
    assert 'lab,"\'-Lab-",Roof,21.5,1.0,,' in (await admin.get("/api/zones.csv")).body.decode()
    assert (await admin.get("/api/config?device_id=lab")).json()["setpoint_tenths"] == 215
    assert len(await audited(container, "ZONE_SETTINGS_CHANGE")) == 1
    assert len(await audited(container, "SETPOINT_CHANGE")) == 1
    cleared = await sent(admin, "device_id,location\nlab,\n")
    assert cleared.json()["changed"] == 1
    assert (await admin.get("/api/zones/lab")).json()["location"] is None


async def test_thresholds_are_in_the_file_and_an_empty_cell_takes_them_away(admin):
    text = "device_id,high_c,low_c\nlab,-15,-22.5\n"
    assert (await sent(admin, text)).json()["changed"] == 1
    assert "lab,,,23.0,1.0,-15.0,-22.5" in (await admin.get("/api/zones.csv")).body.decode()
    for cells in ("-30,", "-15,-15", "125.1,", "x,", "1.55,"):
        high, low = cells.split(",")
        refused = await sent(admin, f"device_id,high_c,low_c\nlab,{high},{low or -22.5}\n")
        assert refused.json()["code"] == "IMPORT_REFUSED", cells
    (line,) = (await sent(admin, "device_id,low_c\nlab,\n")).json()["lines"]
    assert line["changes"] == {"low_tenths": {"old": -225, "new": None}}
    assert (await admin.get("/api/zones/lab")).json()["high_tenths"] == -150


async def test_one_refused_line_refuses_the_file_and_each_has_its_reason(admin):
    lines = [
        *("lab,Lab,,", "lab,Other,,", "nowhere,x,,", "a=b,x,,", f"'=1+1,{'x' * 81},,"),
        '"a,b",,21.55,',
    ]
    text = "device_id,name,setpoint_c,deadband_c\n" + "\n".join(lines)
    answer = await sent(admin, text)
    assert (answer.status, answer.json()["code"]) == (400, "IMPORT_REFUSED")
    assert [one["line"] for one in answer.json()["lines"]] == [3, 4, 5, 6, 7]
    dry = await sent(admin, text, "?dry_run=true")
    assert (dry.status, dry.json()["changed"], dry.json()["refused"]) == (200, 1, 5)
    assert [one["line"] for one in dry.json()["lines"]] == [2, 3, 4, 5, 6, 7]
    assert (await admin.get("/api/zones/lab")).json()["version"] == 0
    for wrong in ("device_id,setpoint_c\nlab,50", "device_id,deadband_c\nlab,5.1"):
        assert (await sent(admin, wrong)).json()["code"] == "IMPORT_REFUSED"
    assert (await sent(admin, "x")).json()["code"] == "INVALID_CSV"
    assert (await sent(admin, "device_id\nlab", "?dry=1")).status == 400


async def test_a_file_of_2_mb_is_taken_and_a_longer_one_refused(admin):
    lines = (f"{number:05},{'x' * 80},{'y' * 80}\n" for number in range(10_000))
    text = "device_id,name,location\n" + "".join(lines) + "\n" * 200_000
    answer = await sent(admin, text, "?dry_run=true")
    assert (answer.status, answer.json()["refused"]) == (200, 10_000)
    for length, status in ((2_000_001, 400), (4_000_000, 413)):
        assert (await sent(admin, "x" * length)).status == status
    assert (await admin.post("/api/tokens", {"name": "x" * 300_000})).status == 413


async def test_what_does_not_fit_into_the_time_is_left_for_the_same_file(admin, monkeypatch):
    monkeypatch.setattr(import_service, "IMPORT_S", 0.0)
    text = 'device_id,name\nlab,Lab\n"a,b",AB\n'
    assert (await sent(admin, text)).json()["left"] == 1
    again = (await sent(admin, text)).json()
    assert (again["left"], again["changed"], again["unchanged"]) == (0, 1, 1)
