"""The complete app: the effects of its import, and the description of every route."""

from __future__ import annotations

import subprocess
import sys

from tests.support.http import Caller
from tests.unit.test_architecture import FILES, module_of
from tools.process import REPOSITORY as ROOT

# Method, path and model of the answer, as in the contract.
DOCUMENTED = [
    ("get", "/api/health", "Health"),
    ("post", "/api/sensor_data", "Command"),
    ("post", "/api/sensor_data/batch", "BatchAnswer"),
    ("get", "/api/status", "ZoneStatus"),
    ("get", "/api/config", "Config"),
    ("post", "/api/set_setpoint", "SetpointSet"),
    ("get", "/api/telemetry", "TelemetryRow"),
    ("get", "/api/telemetry/window", "TelemetryRow"),
    ("get", "/api/telemetry/paginated", "TelemetryPage"),
    ("get", "/api/telemetry/statistics", "Statistics"),
    ("get", "/api/telemetry/series", "Chart"),
    ("post", "/api/devices/register", "DeviceRegistered"),
    ("get", "/api/devices", "ListedDevice"),
    ("get", "/api/audit/recent", "AuditView"),
    ("post", "/auth/login", "LoginAnswer"),
    ("post", "/auth/logout", "LogoutAnswer"),
    ("get", "/auth/status", "SessionStatus"),
]


def test_what_only_some_servers_need_is_loaded_only_when_it_is_needed():
    code = (
        "import sys, bas_server; from server.config.config import ServerConfig;"
        "print(sorted(name for name in sys.modules"
        " if name.split('.')[0] in {'redis', 'google', 'grpc', 'hpack', 'bdb', 'fractions'} "
        " or name in {'server.simulator.fleet', 'html.entities'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_importing_any_module_has_no_visible_effect(tmp_path):
    modules = sorted(module_of(path) for path in FILES)
    code = f"import importlib; [importlib.import_module(m) for m in {modules!r}]"
    environ = {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


async def test_every_route_of_the_contract_is_in_openapi_with_its_answer(container):
    paths = (await Caller(container.app).get("/openapi.json")).json()["paths"]
    for method, path, model in DOCUMENTED:
        content = paths[path][method]["responses"]["200"]["content"]
        schema = content["application/json"]["schema"]
        kinds = [schema, schema.get("items", {}), *schema.get("anyOf", [])]
        refs = {str(kind.get("$ref")) for kind in kinds}
        assert any(ref.endswith(f"/{model}") for ref in refs), (path, schema)
    assert "get" in paths["/api/sse/telemetry"]


async def test_every_error_of_openapi_has_the_form_of_errors(container):
    paths = (await Caller(container.app).get("/openapi.json")).json()["paths"]
    for path, methods in paths.items():
        for method, about in methods.items():
            for status, answer in about["responses"].items():
                if int(status) >= 400 and path.startswith(("/api/", "/auth/")):
                    schema = answer["content"]["application/json"]["schema"]
                    assert schema["$ref"].endswith("/ErrorBody"), (method, path, status)


def test_the_subjects_of_commits_have_at_most_72_characters():
    """Checks the last 50 commits; a source archive has none."""
    done = subprocess.run(
        ["git", "log", "-50", "--format=%s"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert [subject for subject in done.stdout.splitlines() if len(subject) > 72] == []
