"""Modules that are loaded when they are used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools.process import REPOSITORY

PART = """
import sys
sys.path.insert(0, sys.argv[1])
from server.common import lazy_modules
lazy_modules.LATER.update({"later_part": ("Kind", "make"), "later_package": ()})
lazy_modules.import_later()
def loaded(): return "later_part_ran" in sys.modules or "later_package_ran" in sys.modules
"""
MODULE = """
import sys
sys.modules["later_part_ran"] = sys.modules[__name__]
class Kind: pass
def make(): return Kind()
LIMIT = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "later_part.py").write_text(MODULE)
    package = tmp_path / "later_package"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import sys\nsys.modules['later_package_ran'] = 1\nX = 1\n"
    )
    (package / "small.py").write_text("Y = 2\n")
    return tmp_path


def run(folder: Path, code: str) -> None:
    """Run code in a new Python that loads `later_part` and `later_package` later."""
    done = subprocess.run(
        [sys.executable, "-c", PART + code, str(folder)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_name_that_is_imported_but_not_called_loads_nothing(folder: Path) -> None:
    run(
        folder,
        "from typing import Optional\n"
        "from later_part import Kind, make\n"
        "import later_part\n"
        "Optional[Kind]\n"
        "assert not loaded()\n"
        "made = make()\n"
        "assert loaded()\n"
        "assert type(made) is later_part.Kind\n"
        "assert isinstance(made, Kind)\n",
    )


def test_a_class_that_is_made_a_base_class_is_the_real_one(folder: Path) -> None:
    run(
        folder,
        "from later_part import Kind\n"
        "class Own(Kind): pass\n"
        "import later_part\n"
        "assert Own.__mro__[1] is later_part.Kind\n",
    )


def test_any_other_name_is_the_real_one(folder: Path) -> None:
    run(folder, "from later_part import LIMIT\nassert LIMIT == 3\nassert loaded()\n")
    run(
        folder,
        "try:\n    from later_part import nothing\n"
        "except ImportError as error:\n    assert 'nothing' in str(error)\n"
        "else:\n    raise AssertionError\n",
    )


def test_a_part_of_a_package_is_imported_without_the_package(folder: Path) -> None:
    run(
        folder,
        "from later_package import small\n"
        "from later_package.small import Y\n"
        "assert small.Y == Y == 2\n"
        "assert not loaded()\n"
        "from later_package import X\n"
        "assert X == 1\n"
        "assert loaded()\n",
    )


def test_a_module_that_failed_to_load_can_be_loaded_when_its_fault_is_repaired(
    folder: Path,
) -> None:
    run(
        folder,
        "from pathlib import Path\n"
        "sys.dont_write_bytecode = True\n"
        "file = Path(sys.argv[1], 'later_part.py')\n"
        "right = file.read_text()\n"
        "file.write_text('1 / 0  # ' + 'x' * 99)\n"
        "from later_part import make\n"
        "try:\n    make()\n"
        "except ZeroDivisionError:\n    pass\n"
        "else:\n    raise AssertionError\n"
        "file.write_text(right)\n"
        "make()\n",
    )


def test_a_thread_that_asks_while_another_one_loads_waits_for_the_module(folder: Path) -> None:
    begin = "import threading\nbegun, go = sys.modules['gates']\nbegun.set()\ngo.wait(60)\n"
    (folder / "later_part.py").write_text("import sys\n" + begin + MODULE)
    run(
        folder,
        "import threading\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "begun, go = sys.modules['gates'] = threading.Event(), threading.Event()\n"
        "import later_part\n"
        "with ThreadPoolExecutor(2) as pool:\n"
        "    first = pool.submit(lambda: later_part.LIMIT)\n"
        "    assert begun.wait(60)\n"
        "    second = pool.submit(lambda: later_part.LIMIT)\n"
        "    go.set()\n"
        "    assert first.result() == second.result() == 3\n",
    )
