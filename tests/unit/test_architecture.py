"""The rules of the architecture, checked on the source: imports, names and sizes."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "server").rglob("*.py"))

# All parts may import these; they import each other, the standard library and one small package.
LEAVES = {"server.common", "server.config"}
# The other parts that a part may import besides the leaves; docs/architecture.md has the reasons.
ALLOWED = {
    "server.services.ports": set(),
    "server.services.site": {"server.services.ports"},
    "server.services.history": {"server.services.ports"},
    "server.services.firestore": {
        "server.services.history",
        "server.services.ports",
        "server.services.site",
    },
    "server.services.sqlite": {"server.services.history", "server.services.ports"},
    "server.services.sse_service": {"server.services.ports", "server.services.site"},
    "server.control": {"server.services"},
    "server.alarms": {"server.services"},
    "server.auth": {
        "server.services.firestore",
        "server.services.ports",
        "server.services.site",
    },
    "server.sync_api": {"server.auth", "server.services"},
    "server.legacy": {"server.auth", "server.control", "server.services"},
    "server.routes": {"server.alarms", "server.auth", "server.control", "server.services"},
    "server.http": {
        "server.alarms",
        "server.auth",
        "server.control",
        "server.routes",
        "server.services",
        "server.sync_api",
    },
    "server.simulator": set(),
    "server.processes": {
        "server.auth",
        "server.container",
        "server.http",
        "server.services",
        "server.simulator",
    },
    "server.commands": {
        "server.alarms",
        "server.auth",
        "server.container",
        "server.legacy",
        "server.processes",
        "server.routes",
        "server.services",
        "server.simulator",
    },
}
# A foreign package, and the only files that may import it.
CONFINED = {
    "quart": (
        "server/http/",
        "server/routes/",
        "server/auth/guard.py",
        "server/auth/request_origin.py",
        "server/auth/request_tokens.py",
        "server/auth/session_cookies.py",
        "server/sync_api/flask_views.py",
        "server/container.py",
    ),
    "quart_schema": (
        "server/http/app.py",
        "server/http/error_answers.py",
        "server/http/openapi/",
        "server/http/query_names.py",
        "server/routes/",
    ),
    "quart_cors": ("server/http/app.py",),
    "sqlite3": ("server/services/sqlite/", "server/legacy/database.py"),
    "redis": ("server/services/site/",),
    "google": ("server/services/firestore/google/", "server/auth/firestore_client.py"),
    "grpc": ("server/services/firestore/google/connection.py",),
    "hypercorn": ("server/http/connections.py",),
    "h2": ("server/http/http2_",),
    "cryptography": ("server/http/tls.py",),
    "argon2": ("server/auth/passwords.py",),
}


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Every module that a file imports anywhere; `from a import b` may mean a or a.b."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield f"{node.module}"


def module_of(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def names_of(path: Path) -> Iterator[str]:
    """The public classes and type aliases at the top level of a file."""
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            name = target.id if isinstance(target, ast.Name) else ""
            if name[:1].isupper() and not name.isupper() and len(name) > 1:
                yield name


def within(module: str, packages: set[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def part_of(module: str) -> str | None:
    """The part that a module belongs to; None for modules above the parts."""
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


# The leaves that need a package.
PACKAGES = {
    "config/config.py": {"msgspec"},
    "common/metrics.py": {"prometheus_client"},
    "common/metrics_text.py": {"prometheus_client"},
    "common/process_metrics.py": {"prometheus_client"},
    "common/time_zones.py": {"tzdata"},
}


@pytest.mark.parametrize(
    "path", [path for path in FILES if within(module_of(path), LEAVES)], ids=str
)
def test_a_leaf_imports_only_the_standard_library_and_at_most_one_small_package(path):
    found = {module.split(".")[0] for module in imports(path)} - sys.stdlib_module_names
    assert found - {"server"} <= PACKAGES.get(path.relative_to("server").as_posix(), set())


@pytest.mark.parametrize(
    "path", [path for path in FILES if part_of(module_of(path)) == "server.services.ports"], ids=str
)
def test_a_port_imports_only_the_standard_library_and_msgspec(path):
    found = {module.split(".")[0] for module in imports(path)} - sys.stdlib_module_names
    assert found <= {"server", "msgspec"}


def test_no_two_files_import_each_other():
    imported = {module_of(path): set(imports(path)) for path in FILES}
    both = {
        (one, other)
        for one, others in imported.items()
        for other in others
        if one < other and one in imported.get(other, set())
    }
    assert both == set()


def test_no_two_classes_or_aliases_have_the_same_name():
    files_of: dict[str, list[str]] = {}
    for path in FILES:
        for name in names_of(path):
            files_of.setdefault(name, []).append(path.as_posix())
    assert {name: found for name, found in files_of.items() if len(found) > 1} == {}


@pytest.mark.parametrize("folder", ["server", "server/control"])
def test_a_folder_has_at_most_ten_files(folder):
    files = [path for path in FILES if path.parent == Path(folder) and path.stem != "__init__"]
    assert len(files) <= 10


@pytest.mark.parametrize("package", CONFINED)
def test_a_foreign_package_is_imported_only_by_its_adapter(package):
    users = {path.as_posix() for path in FILES if any(within(m, {package}) for m in imports(path))}
    assert {user for user in users if not user.startswith(CONFINED[package])} == set()


def test_only_the_composition_root_imports_concrete_implementations():
    concrete = {"server.services.sqlite", "server.services.sse_service.memory_log"}
    users = {
        path.as_posix()
        for path in FILES
        if not within(module_of(path), concrete)
        and any(within(module, concrete) for module in imports(path))
    }
    assert users == set()
    assert len((ROOT / "bas_server.py").read_text().splitlines()) <= 150


def test_the_time_and_the_environment_are_each_read_in_one_file():
    for path in FILES:
        source = (ROOT / path).read_text(encoding="utf-8")
        if path.as_posix() not in {"server/config/config.py"}:
            assert "os.environ" not in source, path
            assert "os.getenv" not in source, path
        if path.as_posix() != "server/common/clock.py":
            assert "time.time(" not in source, path
            assert "datetime.now(" not in source, path
