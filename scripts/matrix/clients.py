"""One client of the stream: prints a line for each reading (its temperature) and each hello.

python clients.py NAME URL. The packages are those of the matrix, not of the server; Chromium is
driven by the tests' playwright.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api" / "clients.md"


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


def curl(url: str) -> None:
    _lines_of(["curl", "-sN", url])


def curl_in_a_loop(url: str) -> None:
    """The loop of docs/api/clients.md."""
    found = re.search(r"```sh\n(url=.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found, f"{PAGE} has no loop"
    _lines_of(["bash", "-c", re.sub(r"(?m)^url=.*$", f"url={url}", found[1], count=1)])


def _lines_of(command: list[str]) -> None:
    """Show the events of a program that prints the stream as it comes."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    event = ""
    for line in process.stdout:
        name, _, value = line.rstrip("\n").partition(": ")
        event = value if name == "event" else event
        if name == "data" and event in ("hello", "telemetry"):  # each is one line
            show(event, value)
    raise SystemExit(f"curl ended with {process.wait()}")


def Chromium(url: str) -> None:
    """A page's EventSource; the page is of the same origin and shows nothing."""
    from playwright.sync_api import sync_playwright

    parts = urlsplit(url)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium")
        page = browser.new_page(bypass_csp=True)
        page.expose_function("show", show)
        page.goto(f"{parts.scheme}://{parts.netloc}/healthz")
        page.evaluate(
            """url => {
                const source = new EventSource(url);
                for (const name of ["hello", "telemetry"])
                    source.addEventListener(name, (event) => show(name, event.data));
            }""",
            url,
        )
        page.wait_for_event("close", timeout=0)


if __name__ == "__main__":
    try:
        globals()[sys.argv[1].replace("-", "_")](sys.argv[2])
        print("ended", flush=True)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever ends the client
        print("ended", type(error).__name__, str(error)[:60], flush=True)
