"""The dashboard and the alerts in infra/ ask for metrics and labels that the server has."""

from __future__ import annotations

import re

import pytest

from server.common import metric_labels as known
from server.common.metrics import Metrics
from tests.support.monitoring import chosen_in_grafana, shown_by_grafana, unknown_names
from tools.process import REPOSITORY

RULES = (REPOSITORY / "infra/prometheus/bas.rules.yml").read_text(encoding="utf-8")
TESTS = (REPOSITORY / "infra/prometheus/bas.rules.test.yml").read_text(encoding="utf-8")
OPERATIONS = (REPOSITORY / "docs/operations.md").read_text(encoding="utf-8")
ALERTS = re.findall(r"- alert: (\w+)", RULES)


def test_every_metric_and_label_of_the_dashboard_exists():
    shown = list(shown_by_grafana())
    assert len(shown) > 30
    for title, expression in shown:
        assert unknown_names(expression) == set(), title
    for query in chosen_in_grafana():
        assert unknown_names(query) == set()


def test_every_metric_and_label_of_the_alerts_and_of_their_tests_exists():
    expressions = re.findall(r"^ +expr: (.+)$", RULES, re.MULTILINE)
    assert len(expressions) == len(ALERTS) > 20
    for expression in (*expressions, *re.findall(r"series: '(.+?)'", TESTS)):
        assert unknown_names(expression) == set(), expression


@pytest.mark.parametrize("made_up", ["bas_made_up", 'bas_zones{made_up="x"}', "process_made_up"])
def test_a_name_that_does_not_exist_is_found(made_up):
    assert unknown_names(f"max({made_up})") != set()


def test_every_alert_is_explained_once_on_the_page_for_operators():
    rows = re.findall(r"^\| (`Bas.*?) \|", OPERATIONS, re.MULTILINE)
    explained = [name for row in rows for name in re.findall(r"`(Bas\w+)`", row)]
    assert sorted(explained) == sorted(ALERTS)


def test_every_value_that_an_alert_selects_is_one_of_its_label():
    for label, values in (("kind", known.STORE_FAILURES), ("trust", known.TRUST)):
        for selected in re.findall(rf'\b{label}!?=~?"([^"]*)"', RULES):
            assert set(selected.split("|")) <= set(values)


def test_every_metric_that_can_alert_on_an_increase_starts_at_zero():
    """Prometheus cannot see the increase from no series to 1."""
    started = {sample.name for metric in Metrics().registry.collect() for sample in metric.samples}
    counters = set(re.findall(r"increase\((\w+)", RULES))
    assert counters
    # `create_app` starts these for each route.
    assert counters - started <= {"bas_http_requests_total"}
