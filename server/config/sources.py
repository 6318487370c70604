"""Settings and where their texts come from: the environment, and an old auth_config.json."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, field
from pathlib import Path
from typing import Any

OLD_FILE = "BAS_AUTH_CONFIG"
# Keys of the old file that begin like this are rules for passwords. A rule that this server does
# not have must not end without a word.
RULES = "password_"


class ConfigError(ValueError):
    """A setting is wrong; the text names the variable and says what it may be."""


def setting(
    variable: str,
    default: Any,
    parse: Callable[[str], Any],
    doc: str,
    *,
    guards: bool = False,
    secret: bool = False,
) -> Any:
    """A setting; `doc` is its line in docs/settings.md, in Markdown.

    `guards` marks a setting that decides who may do or see what, or where accounts and audit
    entries are. An empty text for it is an error; for any other setting it means "not set". The
    value of a `secret` one is never shown.
    """
    metadata = {
        "variable": variable,
        "parse": parse,
        "doc": doc,
        "guards": guards,
        "secret": secret,
    }
    return field(default=default, metadata=metadata)


def read(settings: Iterable[Field[Any]], environ: Mapping[str, str]) -> dict[str, Any]:
    """The values that are set, by field, in the environment or else in the file it names.

    Raises ConfigError naming the first wrong variable.
    """
    settings = list(settings)
    old, file = _old_file(environ, {item.name for item in settings})
    values: dict[str, Any] = {}
    for item in settings:
        variable: str = item.metadata["variable"]
        found = [(variable, environ.get(variable)), (f"{item.name} in {file}", old.get(item.name))]
        for source, text in found:
            if text is None or not _is_set(source, text, item.metadata["guards"]):
                continue
            try:
                values[item.name] = item.metadata["parse"](text)
            except ValueError as error:
                raise ConfigError(f"{source} {error}") from None
            break
    return values


def _is_set(source: str, text: str, guards: bool) -> bool:
    """Whether a setting's text is a value. Raises ConfigError for one that nobody can have meant.

    Compose writes an empty text for `BAS_X=${BAS_X}` if BAS_X is not set. Docker's --env-file keeps
    quotes and the carriage returns of Windows editors.
    """
    if text.endswith("\r"):
        raise ConfigError(
            f"{source} ends with a carriage return, as Windows editors write it: save the file "
            "that sets it with Unix line ends"
        )
    if any(character < " " or character == "\x7f" for character in text):
        raise ConfigError(f"{source} has a line break or another control character: remove it")
    trimmed = text.strip()
    if len(trimmed) > 1 and trimmed[0] == trimmed[-1] and trimmed[0] in "\"'":
        raise ConfigError(
            f"{source} is in quotes, which are part of the value where no shell removes them, as "
            "in a file for docker's --env-file: remove the quotes"
        )
    if not trimmed and guards:
        raise ConfigError(f"{source} is empty: give it a value, or remove it to get the default")
    return bool(trimmed)


def _old_file(environ: Mapping[str, str], known: set[str]) -> tuple[dict[str, str], str]:
    """The old file's keys that are settings here, as text, and its path.

    Other keys have no meaning any more. Raises ConfigError for one that is a rule for passwords.
    """
    file = environ.get(OLD_FILE)
    if file is None:
        return {}, ""
    _is_set(OLD_FILE, file, guards=True)
    try:
        data = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{OLD_FILE}={file}: cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{OLD_FILE}={file}: must hold a JSON object")
    for key in data:
        if key.startswith(RULES) and key not in known:
            raise ConfigError(
                f"{key} in {file} is a rule for passwords that this server does not have: remove "
                "it; docs/operations.md says which rules there are"
            )
    texts = {
        key: ",".join(map(str, value)) if isinstance(value, list) else str(value)
        for key, value in data.items()
        if key in known and value is not None
    }
    return texts, file
