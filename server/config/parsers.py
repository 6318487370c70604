"""Parse the texts of settings; each parser raises ValueError that says what the text may be."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

T = TypeVar("T")


def range_of(parse: Callable[[str], object]) -> str:
    """The values that a parser accepts, in words, if they are a range or a choice; else empty."""
    return str(getattr(parse, "range_shown", ""))


def integer(low: int, high: int) -> Callable[[str], int]:
    """A whole number from `low` to `high`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"must be a whole number, not {text!r}") from None
        if not low <= value <= high:
            raise ValueError(f"must be from {low} to {high}, not {value}")
        return value

    return _shown(parse, f"{low} to {high}")


# The sensors in use measure -55 to 125 °C; no other value can be a temperature.
SENSOR_TENTHS = (-550, 1250)


def temperatures(text: str) -> tuple[int, int]:
    """A range of temperatures that a sensor can measure, in tenths of °C."""
    found = re.fullmatch(r"\s*(-?\d{1,4})\s*\.\.\s*(-?\d{1,4})\s*", text)
    low, high = (int(found[1]), int(found[2])) if found else (0, 0)
    if not SENSOR_TENTHS[0] <= low < high <= SENSOR_TENTHS[1]:
        raise ValueError(
            f"must be lowest..highest in tenths of °C, such as -300..500, within"
            f" {SENSOR_TENTHS[0]}..{SENSOR_TENTHS[1]}, not {text!r}"
        )
    return low, high


def folder(text: str) -> Path:
    """The path of a folder."""
    if not text:
        raise ValueError("must name a folder")
    return Path(text)


def file(text: str) -> str:
    """The path of a file; empty for none."""
    if "\0" in text:
        raise ValueError(f"must be a file's path, not {text!r}")
    return text


def flag(text: str) -> bool:
    """1 or 0, or one of the usual words for them."""
    value = text.strip().lower()
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off"}:
        return False
    raise ValueError(f"must be 1 or 0 (true/false, yes/no, on/off), not {text!r}")


def choice(*allowed: str, instead: Mapping[str, str] | None = None) -> Callable[[str], str]:
    """One of these words, in any case; `instead` says what to put for words of earlier servers."""
    put = instead or {}

    def parse(text: str) -> str:
        value = text.strip().lower()
        if value in put:
            raise ValueError(f"is {value}, which this server does not have: put {put[value]}")
        if value not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}, not {text!r}")
        return value

    return _shown(parse, ", ".join(f"`{word}`" for word in allowed))


# Headers that clients send with a standard meaning.
_COMMON_HEADERS = re.compile(
    "(?i)host|connection|keep-alive|user-agent|accept.*|content-.*|authorization|cookie|origin"
)


def header_name(text: str) -> str:
    """The name of an HTTP header that no client sends with another meaning."""
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", text) or _COMMON_HEADERS.fullmatch(text):
        raise ValueError(
            f"must be the name of an HTTP header that has no other meaning, not {text!r}"
        )
    return text


def timezone(text: str) -> str:
    """The name of a time zone of which this system knows the rules, or nothing."""
    if text:
        # Imported here, since it takes a megabyte and most sites keep the system's time zone.
        from zoneinfo import ZoneInfoNotFoundError

        from server.common.time_zones import time_zone

        try:
            time_zone(text)
        except (OSError, ValueError, ZoneInfoNotFoundError):
            raise ValueError(
                f"must be the IANA name of a time zone, such as Europe/Berlin, not {text!r}"
            ) from None
    return text


def wsgi_app(text: str) -> str:
    """A WSGI application as package.module:app or PATH/module.py:app, or nothing."""
    if text and not re.fullmatch(r"([A-Za-z_][\w.]*|[^\x00:]*\w\.py):[A-Za-z_]\w*", text):
        raise ValueError(f"must be package.module:app or PATH/module.py:app, not {text!r}")
    return text


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def several(*allowed: str) -> Callable[[str], str]:
    """Some of these words, in any case, with commas between them; `none` for none of them."""

    def parse(text: str) -> str:
        words = _words(text.lower())
        if words == ("none",):
            return ""
        for word in words:
            if word not in allowed:
                raise ValueError(
                    f"must list some of {', '.join(allowed)}, or be none, not {text!r}"
                )
        return ",".join(dict.fromkeys(words))

    return _shown(parse, ", ".join(f"`{word}`" for word in allowed))


def origins(text: str) -> tuple[str, ...]:
    """Origins as browsers write them: in lower case, without the scheme's default port."""
    origins = []
    for word in _words(text.lower()):
        parts = urlsplit(word)
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path:
            raise ValueError(f"must list origins such as https://panel.example, not {word!r}")
        own_port = {"http": ":80", "https": ":443"}[parts.scheme]
        origins.append(word.removesuffix(own_port))
    return tuple(origins)


# Not more than one slash in a row: a URL that begins with two names another host.
_ROOT_PATH = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,63}){1,8}")
_HOST_NAME = re.compile(r"(\*\.)?(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")


def host_names(text: str) -> tuple[str, ...]:
    """Names as browsers send them; `*.` or a dot before one means all names below it."""
    names = []
    for word in _words(text.lower()):
        name = word.removesuffix(".")
        name = f"*{name}" if name.startswith(".") else name
        if not _HOST_NAME.fullmatch(name):
            raise ValueError(
                "must list names such as bas.example or *.bas.example, without scheme, port or "
                f"letters beyond a-z, not {word!r}"
            )
        names.append(name)
    return tuple(names)


def path_prefix(text: str) -> str:
    """The beginning of paths without a slash at its end; empty for none."""
    path = text.rstrip("/")
    if path and not _ROOT_PATH.fullmatch(path):
        raise ValueError(f"must be a path such as /bas, of letters, digits and -._~, not {text!r}")
    return path


def redis_url(text: str) -> str:
    """A URL for redis-py; error texts do not repeat it, since it may hold a password."""
    if text and not re.match(r"(redis|rediss)://[^/]|unix:///", text):
        raise ValueError("must be a URL such as redis://127.0.0.1:6379/0 (or rediss://, unix://)")
    try:
        urlsplit(text).port  # noqa: B018 - it is read for its error
    except ValueError:
        raise ValueError("has no port that is a number: is / ? # or @ in its password?") from None
    return text


SECRET_MIN = 20


def secret(text: str) -> str:
    """A secret that a header can carry and that nobody guesses; error texts do not repeat it."""
    if not re.fullmatch(rf"[\x21-\x7e]{{{SECRET_MIN},256}}", text):
        raise ValueError(
            f"must have {SECRET_MIN} to 256 ASCII characters without spaces: take what "
            "`openssl rand -hex 20` prints"
        )
    return text


def http_url(text: str) -> str:
    """A URL of a web server, or nothing; error texts do not repeat it: it may hold a password."""
    try:
        parts = urlsplit(text)
        wrong = parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0
    except ValueError:
        wrong = True
    if text and (wrong or not text.isascii() or " " in text):
        raise ValueError("must be a URL such as https://hc.example/ping/1234, in ASCII")
    return text


def networks(text: str) -> tuple[Network, ...]:
    """IP addresses and networks."""
    try:
        return tuple(ipaddress.ip_network(word) for word in _words(text))
    except ValueError as error:
        raise ValueError(f"must list addresses or networks such as 10.0.0.0/8: {error}") from None


def _shown(parse: Callable[[str], T], text: str) -> Callable[[str], T]:
    parse.range_shown = text  # type: ignore[attr-defined]
    return parse
