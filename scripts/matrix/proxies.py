"""Puts reverse proxies between clients and the server, and prints a table of what they do.

Each runs twice, with the shortest configuration that passes requests on and with the one that
docs/proxies.md shows, and where it can, again with TLS and HTTP/2. Each row needs a minute, because
it waits for heartbeats.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scripts.matrix import proxies_http1, proxies_http2
from scripts.matrix.proxy_programs import COMMANDS, FRAMES_HTTP2, PATH, SHORTEST, documented
from scripts.matrix.stream_clients import table


def main(names: Sequence[str]) -> None:
    """Print the table."""
    head = (
        "proxy",
        "configuration",
        "device: 200 OK",
        "upload",
        "client address",
        "live",
        "heartbeats",
    )
    rows = []
    for name in names or COMMANDS:
        if shutil.which(COMMANDS[name][0], path=PATH) is None:
            print(f"{name} is not installed", file=sys.stderr)
            continue
        makers = [proxies_http1.row]
        if name in FRAMES_HTTP2:
            makers.append(proxies_http2.row)
        for which, lines in (("shortest", SHORTEST[name]), ("this page's", documented(name))):
            for make in makers:
                with tempfile.TemporaryDirectory() as data:
                    rows.append(make(name, which, lines, Path(data)))
                print(rows[-1], file=sys.stderr, flush=True)
    print(table(head, rows))


if __name__ == "__main__":
    main(sys.argv[1:])
