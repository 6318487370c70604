"""The order in which a run in several processes begins its tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.support.dealing import begin_long_ones


@dataclass(frozen=True)
class Item:
    name: str
    is_long: bool = False

    def get_closest_marker(self, name: str) -> object | None:
        return object() if self.is_long and name == "long" else None


def test_the_long_tests_begin_first_and_all_others_keep_their_order() -> None:
    items: list[Any] = [Item("a"), Item("b", True), Item("c"), Item("d", True)]
    begin_long_ones(items)
    assert [item.name for item in items] == ["b", "d", "a", "c"]
