"""No page loads more than 200 KiB of scripts and styles; no build step shrinks them."""

from __future__ import annotations

import re

import pytest

from server.http.static_files import StaticFiles
from tools.process import REPOSITORY

STATIC, TEMPLATES = REPOSITORY / "server" / "static", REPOSITORY / "server" / "templates"
MAX_BYTES = 200 * 1024
NAMED = re.compile(r"""(?:static|module)\('([^']+)'\)""")
IMPORTED = re.compile(r"""(?:from|import) "\./([\w./-]+)"|new URL\("([\w.]+)\"""")
PAGES = sorted(path.name for path in TEMPLATES.glob("*.html") if path.name != "base.html")


def with_imports(name: str, found: set[str]) -> set[str]:
    """The file and all that it imports at once; not what it loads for some people."""
    if name not in found and (STATIC / name).is_file():
        found.add(name)
        if name.endswith(".js"):
            for names in IMPORTED.findall((STATIC / name).read_text()):
                with_imports(next(filter(None, names)), found)
    return found


def files_of(page: str) -> set[str]:
    text = (TEMPLATES / page).read_text()
    if "extends" in text:
        text += (TEMPLATES / "base.html").read_text()
    names = NAMED.findall(text)
    if "module(" in NAMED.sub("", text):  # a page of administration names its script by its section
        names += [path.name for path in STATIC.glob("admin_*.js")]
    found: set[str] = set()
    for name in names:
        with_imports(name, found)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_a_page_loads_at_most_200_kib_of_scripts_and_styles(page):
    names = [name for name in files_of(page) if not name.endswith(".svg")]
    sizes = {name: (STATIC / name).stat().st_size for name in names}
    assert sizes
    assert sum(sizes.values()) <= MAX_BYTES, sizes


def test_a_page_names_each_module_that_its_own_imports_once_and_the_nearest_first():
    named = StaticFiles(STATIC).imports("dashboard.js")

    assert set(named) == with_imports("dashboard.js", set()) - {"dashboard.js", "stream_worker.js"}
    assert len(named) == len(set(named))
    assert named.index("live.js") < named.index("zones.js") < named.index("zone.js")
    assert "first_run.js" not in named
