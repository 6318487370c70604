"""Calls every operation with a client that openapi-python-client has made from the document.

`use_client.py DOCUMENT URL`: the examples of the document are the arguments; the package `client`
is on the path. Prints a line for each operation; exits with 1 if an answer is not the described
one.
"""

from __future__ import annotations

import importlib
import json
import sys
from enum import Enum
from typing import Any, get_args, get_type_hints

from client import Client
from client.models.error_body import ErrorBody


def operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Every operation; what deletes comes late, the session's own last but for the log-in."""
    keyed = [
        (method == "delete" and -len(path), one)
        for path, methods in document["paths"].items()
        for method, one in methods.items()
    ]
    deletes = sorted((pair for pair in keyed if pair[0]), key=lambda pair: pair[0])
    found = [one for _, one in [*(pair for pair in keyed if not pair[0]), *deletes]]
    first = [one for one in found if one["operationId"] == "log_in"]
    own = [one for one in found if one["tags"] == ["sessions"]]
    return [*first, *(one for one in found if one not in own), *own]


def arguments(module: Any, operation: dict[str, Any]) -> dict[str, Any]:
    """The examples of an operation as its function takes them."""
    found = {one["name"]: one["example"] for one in operation["parameters"] if "example" in one}
    hints = get_type_hints(module._get_kwargs)
    for name, value in found.items():
        for kind in get_args(hints.get(name)):
            if isinstance(kind, type) and issubclass(kind, Enum):
                found[name] = kind(value)
    if "requestBody" in operation:
        example = operation["requestBody"]["content"]["application/json"]["example"]
        if isinstance(example, list):
            found["body"] = [module.BatchRow.from_dict(one) for one in example]
        else:
            name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            found["body"] = getattr(module, name.rpartition("/")[2]).from_dict(example)
    return found


def call(client: Client, operation: dict[str, Any]) -> str:
    """What is wrong with the answer; "" if nothing is."""
    name, tag = operation["operationId"], operation["tags"][0]
    module = importlib.import_module(f"client.api.{tag}.{name}")
    given = arguments(module, operation)
    if "text/event-stream" in operation["responses"]["200"]["content"]:
        return first_event(client, module._get_kwargs(**given))
    answer = module.sync_detailed(client=client, **given)
    if answer.status_code != 200:
        return f"{answer.status_code} {answer.content!r}"
    if answer.parsed is None or isinstance(answer.parsed, ErrorBody):
        return f"the answer was not read: {answer.content!r}"
    return ""


def first_event(client: Client, request: dict[str, Any]) -> str:
    """What is wrong with the beginning of a stream."""
    with client.get_httpx_client().stream(**request) as stream:
        for line in stream.iter_lines():
            if line.startswith("event:"):
                return "" if line == "event: hello" else line
    return f"no event: {stream.status_code}"


def main() -> int:
    path, url = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    failed = 0
    with Client(base_url=url, timeout=60) as client:
        for operation in operations(document):
            wrong = call(client, operation)
            print(operation["operationId"], wrong or "ok", flush=True)
            failed += bool(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
