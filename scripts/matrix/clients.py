"""One client of the stream: prints a line for each reading (its temperature) and each hello.

python clients.py NAME URL. The packages are those of the matrix, not of the server.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any


def show(event: str | None, data: str) -> None:
    """Print what the matrix counts."""
    if event == "telemetry":
        print("reading", json.loads(data)["temp_tenths"], flush=True)
    if event == "hello":
        print("hello", json.loads(data)["resume"], flush=True)


def httpx_sse(url: str) -> None:
    """It reads one connection; its documentation shows a loop around it."""
    import httpx
    from httpx_sse import connect_sse

    with httpx.Client(timeout=60) as client, connect_sse(client, "GET", url) as source:
        for event in source.iter_sse():
            show(event.event, event.data)


def sseclient_py(url: str) -> None:
    """It reads one connection that somebody else opened."""
    import requests
    import sseclient  # type: ignore[import-not-found]

    answer: Any = requests.get(url, stream=True, timeout=60)
    for event in sseclient.SSEClient(answer).events():
        show(event.event, event.data)


def sseclient(url: str) -> None:
    import sseclient as package

    for event in package.SSEClient(url):
        show(event.event, event.data)


def aiohttp_sse_client2(url: str) -> None:
    from aiohttp_sse_client2 import client  # type: ignore[import-not-found]

    async def read() -> None:
        async with client.EventSource(url) as source:
            async for event in source:
                show(event.type, event.data)

    asyncio.run(read())


def launchdarkly_eventsource(url: str) -> None:
    from ld_eventsource import SSEClient  # type: ignore[import-not-found]

    for event in SSEClient(url).events:
        show(event.event, event.data)


if __name__ == "__main__":
    try:
        globals()[sys.argv[1].replace("-", "_")](sys.argv[2])
        print("ended", flush=True)
    except Exception as error:  # noqa: BLE001 - whatever ends the package
        print("ended", type(error).__name__, str(error)[:60], flush=True)
