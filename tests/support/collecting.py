"""Makes the garbage collector look at the objects of the tests, not at those of the whole run.

The collected tests, the imported modules and pytest are some million objects that live until the
run ends. Python looks at all of them again and again: each container leaves enough for that.
"""

from __future__ import annotations

import gc

# New objects between two looks; Python's own figure is 700. A container makes some 50,000.
THRESHOLDS = (20_000, 10, 10)


def keep_what_is_there() -> None:
    """Call this once, before the first test runs."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
