"""The words of CONTRIBUTING.md, in texts for operators: log lines, errors, help and pages."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "server").rglob("*.py"))
# What browsers get, with its comments: a person may open it there.
SENT = sorted(
    path
    for folder, kinds in (("server/static", ("*.js", "*.css")), ("server/templates", ("*.html",)))
    for kind in kinds
    for path in (ROOT / folder).glob(kind)
)
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
# Words that are not of the field, and that no operator searches for.
BANNED = re.compile(
    r"\b(told|heard|bears?|bearing|meanwhile|anew|of its own|so long|homeless|neighbou?rs?"
    r"|nobody knows)\b",
    re.IGNORECASE,
)
# "Who waits is written to": a relative clause as the subject of a sentence.
FREE_SUBJECT = re.compile(
    r"(?:^|(?<=[.;:!?] ))(?:Who|Whoever|Whatever|What)\b(?! (?:can|do|does|may|should) )"
    r"[^.?!:|]{0,160}?"
    r"\b(?:is|are|was|has|gets?|goes|waits|must|may|cannot|can|counts?|stays?)\b [^?:]*?\.",
)
_FENCED = re.compile(r"^```.*?^```|^    .*?$|`[^`]*`", re.DOTALL | re.MULTILINE)


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The texts that a file logs, raises and prints, and its help, each with its line. Docstrings
    are left out, and single words, which are names."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and " " in text and id(node) not in docstrings:
            yield node.lineno, text


def wrong(text: str) -> list[str]:
    """The banned words and sentences of a text."""
    flat = " ".join(text.split())
    return [found[0] for found in (*BANNED.finditer(flat), *FREE_SUBJECT.finditer(flat))]


@pytest.mark.parametrize("text", ["Who waits is written to.", "They are told. Meanwhile it waits."])
def test_banned_words_and_sentences_are_found(text):
    assert wrong(text)


def test_the_server_s_texts_use_the_words_of_the_field():
    found = {
        f"{path.relative_to(ROOT)}:{line}": wrong(text)
        for path in FILES
        for line, text in texts(path)
        if wrong(text)
    }
    assert found == {}


def test_the_pages_and_their_scripts_use_the_words_of_the_field():
    banned = re.compile(rf"{BANNED.pattern}|\bhears?\b", re.IGNORECASE)
    found = {
        f"{path.relative_to(ROOT)}:{number}": line.strip()
        for path in SENT
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if banned.search(line)
    }
    assert SENT
    assert found == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_uses_the_words_of_the_field(page):
    paragraphs = _FENCED.sub("", page.read_text(encoding="utf-8")).split("\n\n")
    assert [found for text in paragraphs for found in wrong(text)] == []


# As parts of identifiers. `tell`, `news` and `place` each stood for several things.
BANNED_PART = re.compile(
    r"anew|deaf|gathered|hear|homeless|neighbou?rs?|news|placed?|places|surely|tells?|tellings?"
    r"|(un)?(told|heard)",
    re.IGNORECASE,
)
CODE = sorted(
    path for folder in ("server", "tools", "scripts") for path in (ROOT / folder).rglob("*.py")
)
# Of a script: comments and texts.
_NOT_CODE = re.compile(r"//[^\n]*|/\*.*?\*/|\"(?:[^\"\\\n]|\\.)*\"", re.DOTALL)
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def unclear_parts(identifier: str) -> set[str]:
    """The parts of an identifier, split at underscores and capitals, that say too little."""
    return {part for part in _PART.findall(identifier) if BANNED_PART.fullmatch(part)}


@pytest.mark.parametrize("name", ["told_off", "_tell", "TOLD_AT_ONCE", "isNews", "_Place", "HEARD"])
def test_an_unclear_identifier_is_found(name):
    assert unclear_parts(name)


@pytest.mark.parametrize("name", ["placeholders", "replace", "newest", "household", "shear"])
def test_a_word_within_a_word_is_no_part(name):
    assert not unclear_parts(name)


def test_identifiers_of_scripts_have_the_words_of_the_field():
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in SENT
        if path.suffix == ".js"
        for name in re.findall(r"[A-Za-z_$][\w$]*", _NOT_CODE.sub("", path.read_text("utf-8")))
        if unclear_parts(name)
    }
    assert found == set()


def test_identifiers_have_the_words_of_the_field():
    found = {
        f"{path.relative_to(ROOT)}: {token.string}"
        for path in [*CODE, ROOT / "bas_server.py"]
        for token in tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline)
        if token.type == tokenize.NAME and unclear_parts(token.string)
    }
    assert found == set()
