"""docs/migration.md: its example, followed from the old application's answer to the new route."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.pages import run_here
from tests.support.reader import Reader, need_environment
from tests.support.stream import caller, log_in, post_reading

PAGE = "docs/migration.md"
BESIDE = run_here(PAGE, "PYTHONPATH=/srv/old BAS_LEGACY_WSGI=old_server.app:app")
ASK = run_here(PAGE, "curl -i 'localhost:8080/api/history?device_id=attic'")
VIEW = run_here(PAGE, "from quart import Blueprint, jsonify")
SCRIPT = run_here(PAGE, "from bas_server import open_bridge")
ADDED = run_here(PAGE, "routes = blueprints(config")
IMPORT = "from server.routes import history"
OLD_APPLICATION = """
from flask import Flask, jsonify, request

app = Flask(__name__)


@app.get("/api/history")
def history():
    return jsonify(old=request.args["device_id"])


@app.get("/other")
def other():
    return "still old"
"""


def _old_application(folder: Path) -> None:
    package = folder / "old" / "old_server"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "app.py").write_text(OLD_APPLICATION)


def _moved(reader: Reader) -> None:
    """Steps 2 and 3 of the example."""
    (reader.checkout / "server" / "routes" / "history.py").write_text(VIEW)
    program = reader.checkout / "bas_server.py"
    text = program.read_text()
    assert f"`{IMPORT}`" in (reader.checkout / PAGE).read_text()
    text = text.replace("\nfrom server.routes", f"\n{IMPORT}\nfrom server.routes", 1)
    assert IMPORT in text
    as_it_is, added = ADDED.strip().splitlines()
    line = re.escape(as_it_is.split("  #")[0])
    text, count = re.subn(rf"^( +){line}$", rf"\g<0>\n\g<1>{added}", text, flags=re.MULTILINE)
    assert count == 1, f"bas_server.py has no line {as_it_is}"
    program.write_text(text)


async def test_a_route_moves_and_the_others_stay(tmp_path: Path) -> None:
    need_environment()
    reader = Reader(tmp_path, changes_code=True)
    _old_application(tmp_path)
    with reader.server(BESIDE) as server:
        reader.port, password = server.port, server.password
        assert password
        answer = reader.types(ASK)
        assert '{"old":"attic"}' in answer
        assert "x-frame-options" not in answer.lower()
        assert server.terminate() == 0
    _moved(reader)
    with reader.server(BESIDE) as server:
        reader.port = server.port
        assert "x-frame-options: deny" in reader.types(ASK).lower()
        session = await log_in(server.url, "admin", password)
        async with caller(server.url, session) as client:
            await post_reading(client, "attic", 231)
            rows = (await client.get("/api/history?device_id=attic")).json()
            assert [row["temp_tenths"] for row in rows] == [231]
            assert (await client.get("/other")).text == "still old"


def test_the_script_stores_a_reading_and_reads_it(tmp_path: Path) -> None:
    need_environment()
    reader = Reader(tmp_path)
    (reader.checkout / "script.py").write_text(SCRIPT)
    date, temp_tenths = reader.types("python script.py").split()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*Z", date)
    assert temp_tenths == "215"
