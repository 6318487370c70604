"""The pages for readers: their links work, and their copies of the code are up to date."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from server.commands.main import command_line
from server.common.metrics import Metrics
from server.config.settings_text import settings_table
from server.routes.zone_metrics import FAMILIES

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
# A file that a reader of an example creates.
MADE_BY_READERS = {"server/routes/history.py"}
# What only scripts and tests read.
OF_SCRIPTS = {"BAS_PYTHON", "BAS_FIRESTORE_JAR", "BAS_EMULATORS_REDIS_PORT"}
_FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_MENTIONED = re.compile(r"`((?:server|tests|scripts|tools|infra|docs|findings)/[\w./-]+\.\w+)`")


def prose(page: Path) -> str:
    return _FENCED.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_points_to_an_existing_file_and_heading(page):
    for link in _LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_exists(page):
    named = set(_MENTIONED.findall(prose(page))) - MADE_BY_READERS
    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_the_settings_page_contains_the_table_that_the_code_generates():
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert settings_table() in text, "python -m server.config.settings_text prints the table"


def test_docs_readme_links_every_page():
    text = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {page.relative_to(ROOT / "docs") for page in (ROOT / "docs").glob("*.md")}
    assert {str(page) for page in pages if f"({page})" not in text} == {"README.md"}


def test_every_setting_that_a_page_names_is_declared():
    declared = set(re.findall(r"^\| `([A-Z_]+)` \|", settings_table(), re.MULTILINE))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        named = set(re.findall(r"\b(?:BAS|USE|REDIS|EMULATOR|FIRESTORE)_[A-Z_]*[A-Z]\b", text))
        named -= {one for one in named if f"{one}_…" in text}
        assert named - declared - OF_SCRIPTS == set(), page


def test_the_table_of_commands_has_every_command_and_option():
    (parsers,) = (
        action
        for action in command_line()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    rows = re.findall(r"^\| `([a-z-]+)(.*?)` \|", prose(ROOT / "README.md"), re.MULTILINE)
    assert {name for name, _ in rows} == set(parsers.choices)
    for name, shown in rows:
        options = {
            option
            for action in parsers.choices[name]._actions
            for option in action.option_strings
            if option.startswith("--") and option != "--help"
        }
        assert set(re.findall(r"--[a-z-]+", shown)) == options, name


def test_the_table_of_metrics_has_every_metric_that_the_server_counts():
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`(?:bas|process)_.*?) \|", text, re.MULTILINE)
    shown = {name for row in rows for name in re.findall(r"(?:bas|process)_\w+", row)}
    counted = {
        metric.name + ("_total" if metric.type == "counter" else "")
        for metric in Metrics().registry.collect()
    }
    assert shown == counted | {family.name for family in FAMILIES}


def test_the_tree_of_the_architecture_has_every_folder_of_the_server():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tree = re.findall(r"^server/$(.*?)^\S", text, re.DOTALL | re.MULTILINE)[0]
    above: list[str] = []
    shown = set()
    for indent, names in re.findall(r"^( +)(\S+/(?:, \S+/)*)(?: |$)", tree, re.MULTILINE):
        for name in names.split(", "):
            above[len(indent) // 2 - 1 :] = [name.rstrip("/")]
            shown.add("/".join(above))
    folders = {
        str(path.relative_to(ROOT / "server"))
        for path in (ROOT / "server").rglob("*")
        if path.is_dir() and path.name != "__pycache__"
    }
    assert shown == folders


def test_every_file_and_class_that_the_architecture_names_is_in_the_code():
    text = prose(ROOT / "docs" / "architecture.md")
    sources = {path: path.read_text() for path in (ROOT / "server").rglob("*.py")}
    sources[ROOT / "bas_server.py"] = ""
    known = [path.as_posix() for path in (*sources, *(ROOT / "server").rglob("*.lua"))]
    for file in re.findall(r"`([\w/]+\.(?:py|lua))`", text):
        if not file.startswith("tests/"):
            assert any(path.endswith(f"/{file}") for path in known), file
    named = re.findall(r"`([A-Z][a-z]\w+)(?:\.(\w+))?`|\*\*([A-Z]\w+[A-Z]\w+)\*\*", text)
    for name, member, bold in named:
        (source,) = (
            one for one in sources.values() if re.search(rf"^class {name or bold}\b", one, re.M)
        )
        assert re.search(rf"\b{member}\b", source), f"{name}.{member}"


def test_every_label_that_the_operations_page_names_is_one_of_its_metric():
    text = prose(ROOT / "docs" / "operations.md")
    collected = [one for one in vars(Metrics()).values() if hasattr(one, "_labelnames")]
    labels = {one._name: set(one._labelnames) for one in collected}
    labels |= {family.name: {"tenant", "device", "relay", "state"} for family in FAMILIES}
    for name, shown in re.findall(r"(bas_\w+)\{([^}]*)\}", text):
        found = {re.split(r"\W", label)[0] for label in shown.split(",")}
        assert found <= labels[name.removesuffix("_total")], name
