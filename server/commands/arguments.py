"""Arguments that several commands take."""

from __future__ import annotations

import argparse
import getpass
import re
import sys

from server.auth.principal import DEFAULT_TENANT


def add_tenant(parser: argparse.ArgumentParser) -> None:
    """Add --tenant."""
    parser.add_argument("--tenant", type=tenant, default=DEFAULT_TENANT)


def tenant(text: str) -> str:
    """A valid tenant id. Raises ArgumentTypeError."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text):
        raise argparse.ArgumentTypeError(
            "1 to 64 of A-Z a-z 0-9 . _ -, not beginning with . _ or -"
        )
    return text


def add_password(parser: argparse.ArgumentParser) -> None:
    """Add --password-stdin."""
    parser.add_argument(
        "--password-stdin", action="store_true", help="read the password from standard input"
    )


def password(options: argparse.Namespace) -> str:
    """The password, from standard input or asked for twice. Raises ValueError."""
    if options.password_stdin:
        return sys.stdin.buffer.read(8192).decode().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise ValueError("no terminal to ask on: give --password-stdin")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != first:
        raise ValueError("the two passwords differ")
    return first
