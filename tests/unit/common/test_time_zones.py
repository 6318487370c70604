"""The rules of a time zone come from the newer of two sources."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from server.common import time_zones
from server.common.time_zones import time_zone

IN_SUMMER = datetime(2026, 7, 1, 12)


def use(*folders: Path) -> None:
    zoneinfo.reset_tzpath(to=[str(folder) for folder in folders])
    zoneinfo.ZoneInfo.clear_cache()
    time_zones._prefer_newer_rules.cache_clear()


@pytest.fixture
def system(tmp_path: Path) -> Iterator[Path]:
    """A system's folder of rules, in which Berlin has those of Tokyo."""
    (tmp_path / "Europe").mkdir()
    with zoneinfo._common.load_tzdata("Asia/Tokyo") as rules:  # type: ignore[attr-defined]  # private
        (tmp_path / "Europe" / "Berlin").write_bytes(rules.read())
    before = [Path(folder) for folder in zoneinfo.TZPATH]
    yield tmp_path
    use(*before)


def hours_of(name: str) -> timedelta | None:
    return IN_SUMMER.replace(tzinfo=time_zone(name)).utcoffset()


@pytest.mark.parametrize("first_line", ["# version 2025b", "# 9999z", "", "version 9999 z"])
def test_old_or_unnamed_rules_of_the_system_are_not_used(system: Path, first_line: str) -> None:
    (system / "tzdata.zi").write_text(f"{first_line}\nR A 1\n")
    use(system)
    assert hours_of("Europe/Berlin") == timedelta(hours=2)


def test_a_system_without_rules_has_those_of_the_package(system: Path) -> None:
    use(system / "nothing")
    assert hours_of("Europe/Berlin") == timedelta(hours=2)


def test_newer_rules_of_the_system_are_used(system: Path) -> None:
    (system / "tzdata.zi").write_text("# version 9999a\n")
    use(system / "nothing", system)
    assert hours_of("Europe/Berlin") == timedelta(hours=9)


def test_a_name_that_neither_has_is_refused(system: Path) -> None:
    use(system)
    with pytest.raises(zoneinfo.ZoneInfoNotFoundError):
        time_zone("Europe/Atlantis")
