"""Notices: what one process tells the others, so that what they remember is not old."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Notices(Protocol):
    """Short texts to all other processes of the site.

    They make things quick, not right: a notice may be lost, or come twice.
    """

    @property
    def reach_others(self) -> bool:
        """Whether what is told now comes to all others, as far as is known; true without others."""

    def tell(self, topic: str, name: str) -> None:
        """Tell the others soon."""

    def listen(self, topic: str, listener: Callable[[str], None]) -> None:
        """Call `listener` with the name of each notice on this topic, on the event loop."""


class NoNotices:
    """`Notices` of a process that is the only one."""

    reach_others = True

    def tell(self, topic: str, name: str) -> None:
        return

    def listen(self, topic: str, listener: Callable[[str], None]) -> None:
        return
