#!/usr/bin/env bash
# quart-schema's OpenAPI document refers to nested msgspec types that it does not contain.
#
# Seen with: quart-schema 0.25.0, quart 0.22.0 and msgspec 0.22.0 from PyPI, CPython 3.11, November 2026.
# Expected: every `$ref` of /openapi.json resolves: msgspec.json.schema_components returns the schemas of
#   all nested types beside the schema that was asked for.
# Seen: a response whose type holds another type has a `$ref` into `components.schemas`, which is empty.
# Why it matters: generators of clients drop the route or end with an error, although the server answers
#   correctly; the document looks right in a viewer that shows only the first level.
# Exit code: 0 while this is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet quart==0.22.0 quart-schema==0.25.0 msgspec==0.22.0 typing_extensions
cat >"$folder/program.py" <<'PROGRAM'
import asyncio
import json
import re

import msgspec
from quart import Quart
from quart_schema import QuartSchema, validate_response


class Point(msgspec.Struct):
    x: int


class Line(msgspec.Struct):
    start: Point
    end: Point


app = Quart(__name__)
QuartSchema(app, conversion_preference="msgspec")


@app.get("/line")
@validate_response(Line)
async def line() -> Line:
    return Line(Point(1), Point(2))


async def document():
    return await (await app.test_client().get("/openapi.json")).get_json()


found = asyncio.run(document())
names = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(found)))
print("referred to:", *sorted(names))
print("contained:", *sorted(found["components"]["schemas"]))
PROGRAM
seen=$("$folder/venv/bin/python" "$folder/program.py")
echo "$seen"
expected='referred to: Point
contained:'
[ "$seen" = "$expected" ] || {
    echo "This has changed: expected a reference to Point, and no schema of that name." >&2
    exit 1
}
