"""What the Grafana dashboard asks for, and which metrics and labels the server has."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

from server.common.metrics import Metrics
from server.routes.zone_metrics import FAMILIES
from tools.process import REPOSITORY
from tools.prometheus import EXECUTABLE, PROMTOOL

DASHBOARD = REPOSITORY / "infra" / "grafana" / "bas.json"
# What a person chooses at the top of the dashboard, and an interval that Grafana computes.
VARIABLES = {"$__rate_interval": "5m", "$job": "bas"}
# Labels that Prometheus adds, and those of zones.
ADDED = {"job", "instance", "pid"}
OF_ZONES = {"tenant", "device", "relay", "state"}


def need_prometheus() -> None:
    """Skip the test where Prometheus is not installed; fail where that must not happen."""
    if EXECUTABLE is None or PROMTOOL is None:
        reason = "prometheus is not installed: infra/prometheus and infra/grafana are NOT tested"
        if os.environ.get("BAS_TEST_REQUIRE"):
            pytest.fail(reason)
        pytest.skip(reason)


def shown_by_grafana() -> Iterator[tuple[str, str]]:
    """The title of each panel and an expression of it, with the variables filled in."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], _filled_in(target["expr"])


def chosen_in_grafana() -> list[str]:
    """The queries of the dashboard's variables."""
    variables: list[Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))["templating"]["list"]
    return [one["definition"] for one in variables if one["type"] == "query"]


def series() -> dict[str, set[str]]:
    """Each series that the server has, and its labels."""
    found: dict[str, set[str]] = {}
    for metric in Metrics().registry.collect():
        for sample in metric.samples:
            found.setdefault(sample.name, set()).update(sample.labels, ADDED)
    declared = [one for one in vars(Metrics()).values() if hasattr(one, "_labelnames")]
    for one in declared:
        name = one._name + ("_total" if one._type == "counter" else "")
        found.setdefault(name, set()).update(one._labelnames, ADDED)
    return found | {family.name: OF_ZONES | ADDED for family in FAMILIES} | {"up": ADDED}


def unknown_names(expression: str) -> set[str]:
    """The metrics and labels of an expression that the server does not have."""
    known = series()
    unknown = (
        set(re.findall(r"\b(?:bas|process|up)(?:_\w+)?\b(?![-\"\w])", expression)) - known.keys()
    )
    for name, matchers in re.findall(r"\b(\w+)\{([^}]*)\}", expression):
        labels = set(re.findall(r"(\w+)\s*(?:=|!=|=~|!~)\s*\"", matchers))
        unknown |= {f"{name}{{{label}}}" for label in labels - known.get(name, labels)}
    return unknown


def _filled_in(expression: str) -> str:
    for variable, text in VARIABLES.items():
        expression = expression.replace(variable, text)
    return re.sub(r"\$\w+", ".*", expression)
