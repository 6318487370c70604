"""A Prometheus of a test's own, with the repository's configuration; and promtool."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tools.daemon import Daemon
from tools.process import REPOSITORY

EXECUTABLE = shutil.which("prometheus")
PROMTOOL = shutil.which("promtool")
FOLDER = REPOSITORY / "infra" / "prometheus"
# Targets are scraped this often, and rules evaluated; a rule waits for none of its `for:`.
EVERY = "1s"


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run promtool to its end."""
    assert PROMTOOL is not None
    return subprocess.run(
        [PROMTOOL, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


class Prometheus(Daemon):
    """Prometheus with `infra/prometheus`, that asks the servers on these ports every second."""

    def __init__(self, ports: Sequence[int], token: str) -> None:
        super().__init__("prometheus")
        targets = ", ".join(f'"127.0.0.1:{port}"' for port in ports)
        text = (FOLDER / "prometheus.yml").read_text()
        text, count = re.subn(r'"127\.0\.0\.1:8080"', targets, text)
        assert count == 2
        text, count = re.subn(r"(_interval: )15s", rf"\g<1>{EVERY}", text)
        assert count == 2
        rules = re.sub(r"for: \w+", "for: 0s", (FOLDER / "bas.rules.yml").read_text())
        for name, content in (("prometheus", text), ("bas.rules", rules)):
            (Path(self._folder) / f"{name}.yml").write_text(content)
        (Path(self._folder) / "bas.token").write_text(f"{token}\n")

    def _command(self) -> Sequence[str]:
        assert EXECUTABLE is not None
        return (
            EXECUTABLE,
            f"--config.file={self._folder}/prometheus.yml",
            f"--storage.tsdb.path={self._folder}/data",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--web.external-url=http://127.0.0.1/",
        )

    def _answers(self) -> bool:
        try:
            return bool(self._ask("query", query="1"))
        except OSError:
            return False

    def _ask(self, what: str, **query: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{what}?{urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def targets(self) -> dict[tuple[str, str], tuple[str, str]]:
        """The health and the last error of each target, by job and instance."""
        return {
            (one["labels"]["job"], one["labels"]["instance"]): (one["health"], one["lastError"])
            for one in self._ask("targets")["activeTargets"]
        }

    def firing(self) -> list[dict[str, str]]:
        """The labels of each alert that fires."""
        alerts = self._ask("alerts")["alerts"]
        return [one["labels"] for one in alerts if one["state"] == "firing"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """The labels and values that an expression has now."""
        found = self._ask("query", query=expression)["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]
