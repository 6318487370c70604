"""Opens standard input, output and error where they are closed at the start."""

from __future__ import annotations

import os
import sys


def open_missing() -> None:
    """Open /dev/null in place of each that is closed.

    The next file or socket would get its number: what is printed would go there, and the event
    loop's library ends the process when it closes such a number.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115
