"""The rules of the house, read off the source: who imports whom, who is guarded."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from server.auth.guard import GUARD_MARK
from server.config.config import ServerConfig
from tests.support.http import Caller

ROOT = Path(__file__).parents[2]
FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "server").rglob("*.py"))

# Leaves: anyone may import them; they import each other and the standard library at most.
LEAVES = {
    "server.addresses",
    "server.breaker",
    "server.clock",
    "server.config",
    "server.errors",
    "server.excess",
    "server.metrics",
    "server.neighbours",
    "server.notices",
    "server.seldom",
    "server.version",
    "server.work",
}
# What a part may import besides itself and the leaves; docs/architecture.md has the reasons.
ALLOWED = {
    "server.services.firestore": set(),
    "server.services.embedded": {"server.services.firestore"},
    "server.services.sse_service": set(),
    "server.control": {"server.services.firestore", "server.services.sse_service"},
    "server.auth": {"server.services.firestore"},
    "server.adapters": {
        "server.auth",
        "server.services.firestore",
        "server.services.sse_service",
    },
    "server.legacy": {
        "server.auth",
        "server.control",
        "server.services.firestore",
    },
    "server.routes": {
        "server.auth",
        "server.control",
        "server.adapters",
        "server.services.firestore",
        "server.services.sse_service",
    },
}
# A foreign package, and the only files that may import it.
CONFINED = {
    "quart": (
        "server/app.py",
        "server/blueprints.py",
        "server/serve.py",
        "server/connections.py",
        "server/auth/guard.py",
        "server/adapters/views.py",
        "server/container.py",
        "server/routes/",
    ),
    "quart_schema": ("server/app.py", "server/routes/"),
    "quart_cors": ("server/app.py",),
    "sqlite3": ("server/services/embedded/",),
    "redis": (
        "server/services/sse_service/redis_backend.py",
        "server/services/sse_service/redis_calls.py",
        "server/services/sse_service/factory.py",
    ),
    "google": (
        "server/services/firestore/client.py",
        "server/services/firestore/firestore_",
        "server/auth/firestore_client.py",
    ),
    "grpc": ("server/services/firestore/firestore_connection.py",),
    "hypercorn": ("server/connections.py",),
    "argon2": ("server/auth/passwords.py",),
}
PUBLIC = {
    "static",
    "openapi",
    "pages.dashboard",
    "pages.login",
    "health.health",
    "health.alive",
    "health.ready",
    "health.exposition",
    "sensor.sensor_data",
    "sensor.sensor_data_batch",
    "sensor.status",
    "sensor.config",
    "auth.login",
    "auth.logout",
    "auth.status",
}
# Method, path and model of the answer, as the contract has them.
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
    ("post", "/api/devices/register", "DeviceRegistered"),
    ("get", "/api/devices", "DeviceView"),
    ("get", "/api/audit/recent", "AuditView"),
    ("post", "/auth/login", "LoginAnswer"),
    ("post", "/auth/logout", "LogoutAnswer"),
    ("get", "/auth/status", "SessionStatus"),
]


def imports(path: Path) -> Iterator[str]:
    """Every module a file imports, wherever in it; `from a import b` may mean a or a.b."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield f"{node.module}"


def module_of(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def within(module: str, packages: set[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def part_of(module: str) -> str | None:
    """The part of the house a module belongs to; None for what stands above the parts."""
    return next((part for part in ALLOWED if within(module, {part})), None)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_point_in_the_right_direction(path):
    part = part_of(module_of(path))
    own = {name for name in imports(path) if within(name, {"server", "bas_server", "tests"})}
    if within(module_of(path), LEAVES):
        wrong = {name for name in own if not within(name, LEAVES)}
    elif part is not None:
        wrong = {name for name in own if not within(name, LEAVES | ALLOWED[part] | {part})}
    else:
        wrong = {name for name in own if not within(name, {"server"})}
    assert wrong == set()


@pytest.mark.parametrize("name", ["clock", "errors", "notices", "version", "work", "config/config"])
def test_the_innermost_leaves_need_the_standard_library_alone(name):
    found = {module.split(".")[0] for module in imports(Path("server") / f"{name}.py")}
    assert found <= sys.stdlib_module_names


@pytest.mark.parametrize("package", CONFINED)
def test_a_foreign_package_stays_behind_its_adapter(package):
    users = {path.as_posix() for path in FILES if any(within(m, {package}) for m in imports(path))}
    assert {user for user in users if not user.startswith(CONFINED[package])} == set()


def test_only_the_composition_root_names_concrete_implementations():
    concrete = {"server.services.embedded", "server.services.sse_service.memory_backend"}
    users = {
        path.as_posix()
        for path in FILES
        if not within(module_of(path), concrete)
        and any(within(module, concrete) for module in imports(path))
    }
    assert users == set()
    assert len((ROOT / "bas_server.py").read_text().splitlines()) <= 150


def test_the_time_and_the_environment_are_asked_in_one_place_each():
    for path in FILES:
        source = (ROOT / path).read_text(encoding="utf-8")
        if path.as_posix() not in {"server/config/config.py"}:
            assert "os.environ" not in source, path
            assert "os.getenv" not in source, path
        if path.as_posix() != "server/clock.py":
            assert "time.time(" not in source, path
            assert "datetime.now(" not in source, path


def test_a_server_without_them_loads_neither_redis_nor_google_nor_the_simulator():
    code = (
        "import sys, bas_server; from server.config.config import ServerConfig;"
        "print(sorted(name for name in sys.modules"
        " if name.split('.')[0] in {'redis', 'google', 'grpc'} or name == 'server.simulator'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_importing_any_module_does_nothing_to_see(tmp_path):
    modules = sorted(module_of(path) for path in FILES)
    code = f"import importlib; [importlib.import_module(m) for m in {modules!r}]"
    environ = {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


async def test_every_route_has_a_guard_or_is_known_to_be_public(container):
    views = container.app.view_functions
    unguarded = {name for name, view in views.items() if not hasattr(view, GUARD_MARK)}
    assert unguarded == PUBLIC


async def test_the_guards_ask_for_the_roles_of_the_contract(container):
    views = container.app.view_functions
    roles = {name: getattr(view, GUARD_MARK) for name, view in views.items() if name not in PUBLIC}
    assert roles == {
        "telemetry.recent": "read-only",
        "telemetry.window": "read-only",
        "telemetry.paginated": "read-only",
        "telemetry.statistics": "read-only",
        "stream.telemetry_stream": "read-only",
        "devices.list_devices": "read-only",
        "devices.register": "operator",
        "setpoint.set_setpoint": "operator",
        "audit.recent": "admin",
    }


@pytest.mark.parametrize(
    "variable", [*(item.metadata["variable"] for item in fields(ServerConfig)), "BAS_AUTH_CONFIG"]
)
def test_every_setting_is_in_the_readme(variable):
    assert f"`{variable}`" in (ROOT / "README.md").read_text(encoding="utf-8")


async def test_every_route_of_the_contract_is_in_openapi_with_its_answer(container):
    paths = (await Caller(container.app).get("/openapi.json")).json()["paths"]
    for method, path, model in DOCUMENTED:
        content = paths[path][method]["responses"]["200"]["content"]
        schema = content["application/json"]["schema"]
        titles = {schema.get("title"), schema.get("items", {}).get("title")}
        refs = {str(schema.get("$ref")), str(schema.get("items", {}).get("$ref"))}
        assert model in titles or any(ref.endswith(f"/{model}") for ref in refs), (path, schema)
    assert "get" in paths["/api/sse/telemetry"]


async def test_every_json_route_of_the_app_is_in_openapi(container):
    paths = (await Caller(container.app).get("/openapi.json")).json()["paths"]
    routes = {
        (rule.rule, method.lower())
        for rule in container.app.url_map.iter_rules()
        if rule.rule.startswith(("/api/", "/auth/")) and rule.endpoint != "pages.login"
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    documented = {(path, method) for path, about in paths.items() for method in about}
    assert routes - documented == set()


async def test_every_error_of_openapi_has_the_form_of_errors(container):
    paths = (await Caller(container.app).get("/openapi.json")).json()["paths"]
    for path, methods in paths.items():
        for method, about in methods.items():
            for status, answer in about["responses"].items():
                if int(status) >= 400 and path.startswith(("/api/", "/auth/")):
                    schema = answer["content"]["application/json"]["schema"]
                    assert schema["title"] == "ErrorBody", (method, path, status)
