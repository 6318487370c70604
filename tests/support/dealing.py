"""Distributes tests over the processes of a parallel run.

The groups of xdist do not work with pytest 9.2: xdist 3.8.0 writes a test's group into a name
that pytest no longer reads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

BROWSER, WAITING, PURE = "tests/e2e/", "tests/integration/", "tests/unit/"
# In this part of a run the tests that wait for services are begun: a long one is not the last.
BEGUN_WITHIN = 0.7


class Dealing(LoadScopeScheduling):
    """Gives all browser tests to one process, the pure tests and those of services file by file,
    and each other test to the next free process, in the order of `mix`.

    Giving a pure test away takes longer than running it, and a file of services shares some.
    """

    def __init__(self, config: pytest.Config, log: Any) -> None:
        config.option.loadscopereorder = False  # by the number of tests
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(BROWSER):
            return BROWSER
        return nodeid.partition("::")[0] if nodeid.startswith((WAITING, PURE)) else nodeid


def mix(items: list[pytest.Item]) -> None:
    """Put the browser tests, which take longest, first, and spread those that wait among those that
    compute, so that at each time some processes do this and some that."""
    kinds: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        kinds[next((one for one in (BROWSER, WAITING) if item.nodeid.startswith(one)), "")].append(
            item
        )
    place: dict[pytest.Item, float] = {}
    for kind, share in ((BROWSER, 0.0), (WAITING, BEGUN_WITHIN), ("", 1.0)):
        place |= _spread(kinds[kind], share)
    items.sort(key=place.__getitem__)


def _spread(items: Sequence[pytest.Item], share: float) -> dict[pytest.Item, float]:
    return {item: share * number / len(items) for number, item in enumerate(items)}
