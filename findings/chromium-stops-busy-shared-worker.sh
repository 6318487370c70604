#!/usr/bin/env bash
# Chromium stops a SharedWorker with its last page, before it has read what that page said in `pagehide`.
#
# Seen with: Chromium 156.0.8078.114 (Debian 12), Playwright 1.65.2 from PyPI, December 2026.
# Expected: a page that goes into the back/forward cache tells its SharedWorker by a message in `pagehide`; the worker
#   reads it, as a page that is closed is heard too, and closes its EventSource.
# Seen: where the worker is busy at that moment (here for half a second) it is stopped with the message unread. The
#   EventSource stays open at the server, and nobody reads it, until the page comes back or leaves the cache.
# Why it matters: a server that counts streams counts one that no page has. Allow for one stream of each worker, or close
#   streams that are not read; the page cannot do better, since nothing in `pagehide` can wait.
# Exit code: 0 while this is so, 1 when it has changed.
set -euo pipefail
chromium=$(command -v chromium) || { echo "Install Debian's chromium first."; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv .
bin/pip install --quiet playwright==1.65.2
cat >program.py <<'PROGRAM'
import asyncio
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from playwright.async_api import async_playwright

ROUNDS = 4
WORKER = """
const source = new EventSource("/stream");
onconnect = ({ ports: [port] }) => {
  port.onmessage = ({ data }) => {
    if (data === "work") for (const end = Date.now() + 500; Date.now() < end; );
    else if (data === "leave") source.close();
    else port.postMessage("here");
  };
};
"""
PAGE = """<script>
var { port } = new SharedWorker("/worker.js", location.search);
port.onmessage = () => (document.title = "live");
port.postMessage("enter");
addEventListener("pagehide", () => port.postMessage("leave"));
</script>"""
FILES = {"/worker.js": ("text/javascript", WORKER), "/page": ("text/html", PAGE), "/other": ("text/html", "")}
streams: set[int] = set()


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.send_response(200)
        if path == "/stream":
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.wfile.flush()
            streams.add(id(self))
            self.connection.settimeout(60)
            try:
                self.connection.recv(1)  # returns when the browser closes the connection
            finally:
                streams.discard(id(self))
            return
        kind, text = FILES.get(path, ("text/plain", ""))
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(text.encode())


async def closed(within_s: float) -> bool:
    for _ in range(int(within_s * 20)):
        if not streams:
            return True
        await asyncio.sleep(0.05)
    return False


async def main() -> int:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    kept = ended = 0
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=sys.argv[1],
            args=["--no-sandbox"],
            ignore_default_args=["--disable-back-forward-cache"],
        )
        page = await browser.new_page()
        for number in range(ROUNDS):
            await page.goto(f"{url}/page?{number}")
            await page.wait_for_function("document.title === 'live'")
            await page.evaluate("port.postMessage('work')")
            await page.goto(f"{url}/other")
            if await closed(5):
                continue
            kept += 1
            await page.go_back(wait_until="commit")  # the worker goes on, and reads the message
            ended += await closed(5)
            await page.goto(f"{url}/other")
            await closed(5)
        print(f"{browser.version}: {kept} of {ROUNDS} streams stayed, {ended} ended when the page came back")
        await browser.close()
    return 0 if kept and ended == kept else 1


sys.exit(asyncio.run(main()))
PROGRAM
if bin/python program.py "$chromium"; then
    echo "as expected: the worker was stopped first"
else
    echo "changed"
    exit 1
fi
