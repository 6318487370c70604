"""Counts answers by route and status for /metrics; ordinary posts of devices are counted apart."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from prometheus_client.metrics import Counter
from quart import Quart, Response, request

from server.common.metric_labels import FAILED, NO_ROUTE
from server.common.metrics import Metrics
from server.http.plain_posts import HttpAnswer


def count_answers(app: Quart, metrics: Metrics) -> None:
    """Count each answer of the application.

    A route is counted by its path as it is declared, so that no caller can make up new series.
    """
    for rule in app.url_map.iter_rules():
        for code in FAILED:
            metrics.requests.labels(rule.rule, code)

    @lru_cache(1024)
    def counter(route: str, status: int) -> Counter:
        return metrics.requests.labels(route, str(status))

    async def count(response: Response) -> Response:
        rule = request.url_rule
        counter(NO_ROUTE if rule is None else rule.rule, response.status_code).inc()
        return response

    app.after_request(count)


def counting_refusals(
    error_answer: Callable[[str, Exception], HttpAnswer], metrics: Metrics
) -> Callable[[str, Exception], HttpAnswer]:
    """The same answers, counted: those to requests that reach no application."""

    def answer(asked: str, error: Exception) -> HttpAnswer:
        found = error_answer(asked, error)
        metrics.requests.labels(NO_ROUTE, str(found[0])).inc()
        return found

    return answer
