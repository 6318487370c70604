"""The settings as text: for --help, and as the table in docs/settings.md.

`python -m server.config.settings_text` prints that table.
"""

from __future__ import annotations

import re
import sys
import textwrap
from dataclasses import Field, fields
from typing import Any

from server.config.config import ServerConfig
from server.config.parsers import range_of
from server.config.sources import OLD_FILE

OLD_FILE_DOC = (
    "an existing `auth_config.json`: the same settings in lower case without `BAS_` "
    "(`session_timeout`, `auth_attempts_per_15min`, …); the environment wins"
)
_LINK = re.compile(r"\[([^\]]+)\]\(([\w.]+)[^)]*\)")


def settings_help() -> str:
    """Each setting for --help: its variable, meaning and default."""
    entries = []
    for item in fields(ServerConfig):
        shown = _default(item)
        default = f" ({shown})" if shown else ""
        entries.append(_entry(item.metadata["variable"], item.metadata["doc"] + default))
    return "\n".join([*entries, _entry(OLD_FILE, OLD_FILE_DOC)])


def settings_in_force(config: ServerConfig) -> str:
    """The settings that differ from their defaults, as one would set them; secrets are hidden."""
    shown = []
    for item in fields(config):
        value = getattr(config, item.name)
        if value != item.default:
            text = "(hidden)" if item.metadata["secret"] else _text(value)
            shown.append(f"{item.metadata['variable']}={text}")
    return " ".join(shown)


def settings_table() -> str:
    """A Markdown table with a row for each setting."""
    rows = ["| variable | default | if empty | may be | meaning |", "|---|---|---|---|---|"]
    for item in fields(ServerConfig):
        about, shown = item.metadata, _default(item)
        default = f"`{shown}`" if shown else ""
        empty = "an error" if about["guards"] else "the default"
        cells = f"`{about['variable']}`", default, empty, range_of(about["parse"]), about["doc"]
        rows.append("| " + " | ".join(cells) + " |")
    rows.append(f"| `{OLD_FILE}` |  | an error |  | {OLD_FILE_DOC} |")
    return "\n".join(rows)


def _default(item: Field[Any]) -> str:
    """A default as it would be written in the environment."""
    default = item.default
    return "..".join(map(str, default)) if isinstance(default, tuple) else _text(default)


def _text(value: object) -> str:
    """A value as it would be written in the environment."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value)


def _entry(variable: str, doc: str) -> str:
    return textwrap.fill(
        _plain(doc),
        width=100,
        initial_indent=f"  {variable:<30}",
        subsequent_indent=" " * 32,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _plain(markdown: str) -> str:
    """Markdown as plain text for a terminal."""
    return _LINK.sub(r"\1 (docs/\2)", markdown).replace("`", "")


if __name__ == "__main__":
    sys.stdout.write(settings_table() + "\n")
