"""What the pages for readers tell them to type, and which of it the tests run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tools.process import REPOSITORY

PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
_FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
# A command of one line within a sentence: a program and at least one argument.
_PROGRAMS = r"curl|sudo|sqlite3|firebase|journalctl|systemctl|nginx(?= -)|sysctl|python3?"
_INLINE = re.compile(rf"`((?:(?:\./)?scripts/[\w./]+|{_PROGRAMS}) [^`]+)`")


@dataclass(frozen=True)
class Shown:
    """A command, or the whole text of a block that is no shell block, and its page."""

    page: str
    language: str
    text: str


def name_of(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def _without_indent(text: str, indent: str) -> str:
    return "".join(line.removeprefix(indent) for line in text.splitlines(keepends=True))


def _commands(block: str) -> list[str]:
    """The commands of a shell block without their comments; a backslash continues one."""
    lines = block.replace("\\\n", "\\\0").splitlines()
    commands = [re.sub(r"(^| +)# .*", "", line) for line in lines]
    return [command.replace("\0", "\n") for command in commands if command]


def _shown_on(page: Path) -> list[Shown]:
    text, name = page.read_text(encoding="utf-8"), name_of(page)
    found = []
    for indent, language, indented in _FENCED.findall(text):
        block = _without_indent(indented, indent)
        texts = _commands(block) if language == "sh" else [block]
        found += [Shown(name, language, one) for one in texts]
    inline = _INLINE.findall(_FENCED.sub("", text))
    return found + [Shown(name, "sh", command) for command in inline]


EVERYTHING = [shown for page in PAGES for shown in _shown_on(page)]
_run: set[Shown] = set()


def find(page: str, start: str) -> Shown:
    """The one command or block of this page that begins so. AssertionError if there is none."""
    on_page = {one for one in EVERYTHING if one.page == page}
    found = {one for one in on_page if one.text == start} or {
        one for one in on_page if one.text.startswith(start)
    }
    assert len(found) == 1, f"{page} has {len(found)} of {start!r}"
    return found.pop()


def run_here(page: str, start: str) -> str:
    """The text of a command or block which the calling test module runs."""
    shown = find(page, start)
    _run.add(shown)
    return shown.text


def run_by_tests() -> frozenset[Shown]:
    """Everything that the modules imported until now run."""
    return frozenset(_run)
