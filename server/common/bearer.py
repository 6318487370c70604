"""Reads the credentials of an Authorization header."""

from __future__ import annotations

# Every API token and display token begins with this; keys of devices begin with `bas_`.
TOKEN_PREFIX = "bast_"  # noqa: S105 - no secret


def bearer(authorization: str) -> str | None:
    """The credentials of an Authorization header of the type Bearer or Token, if any."""
    # InfluxDB's clients write Token.
    scheme, _, credentials = authorization.partition(" ")
    return credentials.strip() or None if scheme.lower() in ("bearer", "token") else None


def is_api_token(credentials: str | None) -> bool:
    """Whether these credentials are written like an API token, valid or not."""
    return credentials is not None and credentials.startswith(TOKEN_PREFIX)
