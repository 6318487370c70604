"""The page docs/api/routes.md: a curl line for every route, and the answer of a real server.

`.venv/bin/python -m tools.api_pages` runs the lines, notes answers whose form has changed in
server/http/openapi/answers.json, and writes the page.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tempfile
import textwrap
from pathlib import Path
from typing import Any

from server.http.openapi.document import ANSWERS, every_operation
from server.http.openapi.operations import (
    DEVICE,
    EVENTS,
    JSON,
    METRICS,
    PUBLIC,
    VARIABLE,
    Operation,
)
from server.http.openapi.tables import PASSWORD, TABLES
from tools.process import REPOSITORY, ServerProcess, run_command

PAGE = "docs/api/routes.md"
HOST = "localhost:8080"
ANSWER_S = 60
# Lines of a text that the page shows.
LINES_SHOWN = 4
HEAD = """# Every route, with a curl line and its answer

`python -m tools.api_pages` writes this page from `server/http/openapi/tables.py`; a test runs
every line on a new server and compares the form of the answers. `/openapi.json` describes the same
routes for programs; [the design](refactor_design/api_design.md) says why they are as they are. The
lines need a server on this machine (`./scripts/run.sh`), an account `admin` with the password
shown, and the file `jar` that the log-in writes.
"""


def curl_line(key: str, operation: Operation) -> str:
    """The command that a reader types."""
    method, _, rule = key.partition(" ")
    url = HOST + VARIABLE.sub(lambda found: operation.path[found[1]], rule)
    if operation.query:
        url += f"?{operation.query}"
    words = ["curl", "-s"]
    if operation.content == EVENTS:
        words.append("-N")
    if operation.name == "log_in":
        words += ["-c", "jar"]
    elif operation.access not in {PUBLIC, DEVICE, METRICS} or operation.name == "log_out":
        words += ["-b", "jar"]
    if method not in {"GET", "POST"} or (method == "POST" and operation.body is None):
        words += ["-X", method]
    words.append(url)
    if operation.body is not None:
        words += ["-H", "Content-Type: application/json", "-d", json.dumps(operation.body)]
    return shlex.join(words)


def page(answers: dict[str, Any]) -> str:
    """The text of the page."""
    parts = [HEAD]
    for tag, (about, operations) in TABLES.items():
        parts.append(f"## {tag.capitalize()}\n\n{about}.\n")
        for key, operation in operations.items():
            parts.append(_part(key, operation, answers[operation.name]))
    return "\n".join(parts)


def _part(key: str, operation: Operation, answer: Any) -> str:
    shown = (_json(answer) if operation.content == JSON else answer).rstrip("\n")
    title = VARIABLE.sub(r"{\1}", key)
    text = f"### {title}\n\n{operation.summary}."
    if operation.text:
        text += f" {operation.text}"
    text = "\n".join(
        textwrap.fill(line, 110, break_long_words=False, break_on_hyphens=False)
        for line in text.splitlines()
    )
    return f"{text}\n\n```sh\n{curl_line(key, operation)}\n```\n\n```text\n{shown}\n```\n"


def _json(answer: Any) -> str:
    """JSON with a line for each key of the first level, or for each row."""
    if isinstance(answer, dict) and answer:
        rows = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in answer.items()]
        return "{\n" + ",\n".join(rows) + "\n}"
    if isinstance(answer, list) and answer:
        return "[\n" + ",\n".join(f"  {json.dumps(row)}" for row in answer) + "\n]"
    return json.dumps(answer)


class Examples:
    """Runs the page's lines on a server whose account `admin` has the page's password."""

    def __init__(self, server: ServerProcess, folder: Path) -> None:
        self._server = server
        self._folder = folder

    def run(self) -> dict[str, Any]:
        """The answer of each operation by its name. The session's own lines are run last."""
        everything = list(every_operation())
        own = [one for one in everything if one[1] == "sessions"]
        others = [one for one in everything if one[1] != "sessions"]
        found = {}
        for key, _, operation in [own[0], *others, *own]:
            found[operation.name] = self._run(key, operation)
        return found

    def _run(self, key: str, operation: Operation) -> Any:
        words = shlex.split(curl_line(key, operation))
        words = [word.replace(HOST, f"localhost:{self._server.port}") for word in words]
        if operation.content == EVENTS:
            return self._first_events(words)
        done = subprocess.run(
            words,
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=ANSWER_S,
            check=True,
        )
        if operation.content == JSON:
            return json.loads(done.stdout)
        return "".join(done.stdout.splitlines(keepends=True)[:LINES_SHOWN])

    def _first_events(self, words: list[str]) -> str:
        """The stream up to its snapshot."""
        lines = []
        with subprocess.Popen(words, cwd=self._folder, stdout=subprocess.PIPE, text=True) as curl:
            assert curl.stdout is not None
            for line in curl.stdout:
                lines.append(line)
                if line.startswith('data: {"zones"'):
                    break
            curl.kill()
        return "".join(lines)


def form(value: Any) -> Any:
    """The form of an answer: its keys and kinds of values; of a list that of its first row."""
    if isinstance(value, dict):
        return {key: form(one) for key, one in value.items()}
    if isinstance(value, list):
        return [form(one) for one in value[:1]]
    if isinstance(value, bool) or value is None:
        return value if value is None else "bool"
    if isinstance(value, str) and "\n" in value:
        return [re.split("[ :]", line)[0] for line in value.splitlines() if not line[:1].isdigit()]
    return "number" if isinstance(value, int | float) else "text"


def documented_server(data_dir: Path, **settings: str) -> ServerProcess:
    """A server, not started, with the account that the page needs."""
    create_documented(data_dir)
    return ServerProcess(data_dir, **settings)  # type: ignore[arg-type]


def create_documented(data_dir: Path) -> None:
    """Create the account that the page needs."""
    create = ("create-user", "admin", "--role", "admin", "--password-stdin")
    done = run_command(*create, data_dir=data_dir, stdin=f"{PASSWORD}\n")
    assert done.returncode == 0, done.stderr


def main() -> None:
    """Run every line and write what has changed."""
    noted = json.loads(ANSWERS.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with documented_server(folder / "data") as server:
            found = Examples(server, folder).run()
            server.terminate()
    kept = {
        name: noted[name] if name in noted and form(noted[name]) == form(answer) else answer
        for name, answer in sorted(found.items())
    }
    ANSWERS.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (REPOSITORY / PAGE).write_text(page(kept), encoding="utf-8")


if __name__ == "__main__":
    main()
