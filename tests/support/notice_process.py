"""A process that stores notices and sends them all the time: a test kills it.

`python -m tests.support.notice_process FOLDER FIRST` prints the number of each stored notice.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from bas_server import open_base
from server.alarms.notices_factory import notice_parts
from server.config.config import ServerConfig
from server.services.site.ports import NoNotices
from tests.support.notices import HERE, raised


async def main(folder: Path, number: int) -> None:
    config = ServerConfig(data_dir=folder, notice_private_addresses=HERE)
    async with open_base(config) as base:
        parts = notice_parts(config, base.stores, NoNotices(), base.site_clock, base.metrics)
        parts.start()
        while True:
            change = raised(f"z{number}", id=f"z{number}")
            await base.client.write(list(await parts.listener.documents_for(change)))
            parts.listener.stored(change)
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()
            number += 1
            await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
