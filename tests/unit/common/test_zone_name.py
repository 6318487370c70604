"""The name of the site's time zone: configured, or the system's."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.common.zone_name import zone_name


def test_a_configured_name_counts_before_the_system_s(tmp_path: Path) -> None:
    assert zone_name("Asia/Tokyo", tmp_path / "localtime") == "Asia/Tokyo"


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/usr/share/zoneinfo/Europe/Berlin", "Europe/Berlin"),
        ("../usr/share/zoneinfo/posix/Etc/UTC", "Etc/UTC"),
        ("/somewhere/else", ""),
    ],
)
def test_the_name_of_the_system_s_zone_is_that_of_the_linked_file(
    tmp_path: Path, target: str, name: str
) -> None:
    link = tmp_path / "localtime"
    link.symlink_to(target)

    assert zone_name("", link) == name


def test_a_system_without_a_link_has_no_name(tmp_path: Path) -> None:
    assert zone_name("", tmp_path / "localtime") == ""
