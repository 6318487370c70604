#!/usr/bin/env bash
# werkzeug builds URLs for `<path:name>` that it does not route back, if the value begins with a slash.
#
# Seen with: werkzeug 3.1.9 from PyPI, CPython 3.11, November 2026.
# Expected: what `build` writes for a value, `match` reads as the same value; and /zones/%2Fattic, which
#   ASGI and WSGI servers decode to /zones//attic, reaches the route of `/zones/<path:name>`.
# Seen: the converter's expression is `[^/].*?`, so no value may begin with a slash. The URL that was built
#   is redirected to /zones/attic, which is another value; with merge_slashes=False it is not found.
# Why it matters: a name that people choose, such as "/dev/ttyUSB0" or an MQTT topic, can be listed and not be
#   asked for; a client that follows the redirect changes another object. Write a converter of your own
#   whose expression is `.+`, for a map with merge_slashes=False.
# Exit code: 0 while this is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet werkzeug==3.1.9
cat >"$folder/program.py" <<'PROGRAM'
from werkzeug.exceptions import NotFound
from werkzeug.routing import Map, RequestRedirect, Rule

for merge_slashes in (True, False):
    urls = Map([Rule("/zones/<path:name>", endpoint="zone")], merge_slashes=merge_slashes).bind("h")
    for name in ("dev/ttyUSB0", "/dev/ttyUSB0"):
        url = urls.build("zone", {"name": name})
        try:
            seen = urls.match(url)[1]["name"]
        except RequestRedirect as redirect:
            seen = f"redirect to {redirect.new_url}"
        except NotFound:
            seen = "not found"
        print(f"merge_slashes={merge_slashes} {url}: {seen}")
PROGRAM
seen=$("$folder/venv/bin/python" "$folder/program.py")
echo "$seen"
expected='merge_slashes=True /zones/dev/ttyUSB0: dev/ttyUSB0
merge_slashes=True /zones//dev/ttyUSB0: redirect to http://h/zones/dev/ttyUSB0
merge_slashes=False /zones/dev/ttyUSB0: dev/ttyUSB0
merge_slashes=False /zones//dev/ttyUSB0: not found'
[ "$seen" = "$expected" ] || {
    echo "This has changed: expected that the second and the fourth URL lead nowhere." >&2
    exit 1
}
