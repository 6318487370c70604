#!/usr/bin/env bash
# fetch-event-source reconnects after a connection that broke, and not after one that ended in order.
#
# Seen with: @microsoft/fetch-event-source 2.0.1 from npm, Node 20, November 2026.
# Expected: as of EventSource, whose standard reconnects in both cases: the client comes again after an answer that ended.
# Seen: after an answer that ended its promise resolves, and no request follows. After a cut one it asks again.
# Why it matters: a server that restarts in order ends its streams cleanly. A page then stands still, as if nothing
#   happened any more, while one whose server crashed goes on. Throw an error in `onclose` to reconnect.
# Exit code: 0 while this is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-fund --no-audit @microsoft/fetch-event-source@2.0.1
cat >program.cjs <<'PROGRAM'
const { createServer } = require("node:http");
// It expects a browser's page around it.
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
globalThis.window = globalThis;
const { fetchEventSource } = require("@microsoft/fetch-event-source");

/** How many requests a client makes whose first answer ends in this way. */
async function requests(end) {
  let count = 0;
  const server = createServer((request, answer) => {
    count += 1;
    answer.writeHead(200, { "Content-Type": "text/event-stream" });
    answer.write("retry: 100\n\ndata: x\n\n");
    if (count === 1) setTimeout(() => end(answer), 200);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const stop = new AbortController();
  const url = `http://127.0.0.1:${server.address().port}/`;
  fetchEventSource(url, { fetch, signal: stop.signal }).catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 3000));
  stop.abort();
  server.closeAllConnections();
  server.close();
  return count;
}

(async () => {
  const [ended, cut] = [await requests((answer) => answer.end()), await requests((answer) => answer.destroy())];
  console.log(`requests after an end: ${ended}, after a cut: ${cut}`);
  process.exit(ended === 1 && cut > 1 ? 0 : 1);
})();
PROGRAM
if node program.cjs; then
    echo "as expected: a clean end is the end"
else
    echo "changed"
    exit 1
fi
