"""Computes once per process what each container or client of a test would compute again.

The names of metrics and of their labels are checked, each route's rule is split into parts, and
the pages' files are read for their version: together a third of a start. All of it depends only on
texts in the program. Each client of httpx reads the certificates of all authorities, which takes
30 ms, also for a server without TLS.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from httpx._config import create_ssl_context
from httpx._transports import default
from prometheus_client import metrics
from werkzeug.routing import Rule

import server
from server.http.static_files import StaticFiles

Check = Callable[[Any, Iterable[str]], tuple[str, ...]]
Parse = Callable[[Rule, str], Iterable[Any]]
Make = Callable[[StaticFiles, Path], None]
Trust = Callable[..., ssl.SSLContext]

OWN = Path(server.__file__).parent / "static"


def checking_once(check: Check) -> Check:
    """The same check of label names; names that passed for a kind of metric pass at once."""
    passed: set[tuple[type, tuple[str, ...]]] = set()

    def check_once(metric: Any, names: Iterable[str]) -> tuple[str, ...]:
        names = tuple(names)
        if (type(metric), names) not in passed:
            check(metric, names)
            passed.add((type(metric), names))
        return names

    return check_once


def parsing_once(parse: Parse) -> Parse:
    """The same method with a cache of rules without variables."""
    known: dict[str, tuple[list[Any], list[tuple[bool, str]]]] = {}

    def parse_once(rule: Rule, text: str) -> Iterator[Any]:
        if "<" in text:
            yield from parse(rule, text)
            return
        if text not in known:
            before = len(rule._trace)
            parts = list(parse(rule, text))
            known[text] = parts, rule._trace[before:]
        else:
            rule._trace.extend(known[text][1])
        yield from known[text][0]

    return parse_once


def reading_once(make: Make) -> Make:
    """The same constructor with a cache of what it finds in the program's own folder."""
    known: dict[str, Any] = {}

    def make_once(files: StaticFiles, folder: Path) -> None:
        if folder == OWN and known:
            vars(files).update(known)
            return
        make(files, folder)
        if folder == OWN:
            known.update(vars(files))

    return make_once


def trusting_once(trust: Trust) -> Trust:
    """The same function; clients that trust whom the system trusts share one context."""
    known: dict[tuple[str | None, ...], ssl.SSLContext] = {}

    def trust_once(
        verify: ssl.SSLContext | str | bool = True, cert: Any = None, trust_env: bool = True
    ) -> ssl.SSLContext:
        if verify is not True or cert is not None:
            return trust(verify=verify, cert=cert, trust_env=trust_env)
        named = tuple(os.environ.get(f"SSL_CERT_{what}") for what in ("FILE", "DIR") if trust_env)
        if named not in known:
            known[named] = trust(trust_env=trust_env)
        return known[named]

    return trust_once


def install() -> None:
    """Replace these functions in this process."""
    if hasattr(metrics._build_full_name, "cache_info"):
        return
    for name in ("_build_full_name", "_validate_metric_name"):
        setattr(metrics, name, lru_cache(maxsize=1000)(getattr(metrics, name)))
    setattr(metrics, "_validate_labelnames", checking_once(metrics._validate_labelnames))  # noqa: B010
    setattr(StaticFiles, "__init__", reading_once(StaticFiles.__init__))  # noqa: B010
    setattr(default, "create_ssl_context", trusting_once(create_ssl_context))  # noqa: B010
    setattr(Rule, "_parse_rule", parsing_once(Rule._parse_rule))  # noqa: B010
