#!/usr/bin/env bash
# Chromium sends an Origin header with a page's own modules, though they come from the page's own origin.
#
# Seen with: Chromium 156.0.8078.114 (Debian 12), Playwright 1.65.2 from PyPI, December 2026.
# Expected: a GET to the page's own origin has no Origin header. The Fetch Standard ("append a request Origin header")
#   adds one to a GET only if its response tainting is "cors" or its mode "websocket"; that of an own file is "basic".
# Seen: none with a style sheet, a classic script and fetch(); but one with a module script, with what it imports,
#   with <link rel="modulepreload"> and with import().
# Why it matters: a server that takes a GET with an Origin for one of another site gives its own pages the slow or
#   the refusing path, for exactly those files of which a page without a build step has most.
# Exit code: 0 while this is so, 1 when it has changed.
set -euo pipefail
chromium=$(command -v chromium) || { echo "Install Debian's chromium first."; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv .
bin/pip install --quiet playwright==1.65.2
cat >program.py <<'PROGRAM'
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from playwright.sync_api import sync_playwright

PAGE = """<!doctype html><link rel="icon" href="data:,"><link rel="stylesheet" href="/style.css">
<link rel="modulepreload" href="/preloaded.js"><script src="/classic.js"></script>
<script type="module" src="/module.js"></script>"""
MODULE = """import "./imported.js";
await import("./later.js");
await fetch("/fetched");
document.title = "done";"""
FILES = {"/": ("text/html", PAGE), "/module.js": ("text/javascript", MODULE), "/style.css": ("text/css", "")}
WITHOUT = {"/", "/style.css", "/classic.js", "/fetched"}
WITH = {"/preloaded.js", "/module.js", "/imported.js", "/later.js"}
origins: dict[str, str | None] = {}


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        origins[self.path] = self.headers["Origin"]
        kind, text = FILES.get(self.path, ("text/javascript", ""))
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(text.encode())


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
Thread(target=server.serve_forever, daemon=True).start()
own = f"http://127.0.0.1:{server.server_port}"
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=sys.argv[1], args=["--no-sandbox"])
    print("Chromium", browser.version)
    page = browser.new_page()
    page.goto(own)
    page.wait_for_function("document.title === 'done'")
    browser.close()
server.shutdown()
for path in sorted(WITH | WITHOUT):
    print(f"{path:15} {origins[path] or 'no Origin'}")
as_seen = {path for path, origin in origins.items() if origin == own} == WITH
sys.exit(0 if as_seen and WITHOUT <= origins.keys() else 1)
PROGRAM
code=0
bin/python program.py "$chromium" || code=$?
if [ "$code" -eq 0 ]; then echo "As seen: Chromium sends Origin with a page's own modules."; fi
exit "$code"
