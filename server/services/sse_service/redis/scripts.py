"""Loads the Lua scripts that Redis runs: they keep a history, or count streams, in one step.

Each script is a .lua file beside this one; its head documents arguments and result. A history is a
Redis stream whose entry ids are the positions, and a hash with its epoch, its tip and the mark of
its newest event.
"""

from __future__ import annotations

from pathlib import Path

from server.services.site.redis_script import Script

# The mark before a history's first event; the scripts write it too. It is as long as the shortest
# mark, and no process has this name.
START_MARK = "0000000000000"


def _script(name: str) -> Script:
    return Script((Path(__file__).parent / f"{name}.lua").read_text(encoding="utf-8"))


HEAD = _script("head")
APPEND = _script("append")
RENEW = _script("renew")
READ = _script("read")
LEASE = _script("lease")
COUNT = _script("count")
