"""The errors this server tells its callers about; `app.py` holds their HTTP status codes."""

from __future__ import annotations

from copy import copy
from typing import Self


class BasError(Exception):
    """An error a caller can act on.

    `error` is the short text, `code` the machine-readable name, `message` an optional hint;
    together they are the JSON body of an error answer, with what `more` holds for its caller.
    """

    error = "Internal error"
    code = "INTERNAL"
    more: object = None

    def __init__(
        self, error: str | None = None, code: str | None = None, message: str | None = None
    ) -> None:
        self.error = error or type(self).error
        self.code = code or type(self).code
        self.message = message
        super().__init__(f"{self.code}: {self.error}" + (f" ({message})" if message else ""))

    def __copy__(self) -> Self:
        """The same error, never raised yet: one that is kept would keep all it was raised in."""
        told = type(self).__new__(type(self), *self.args)
        told.__dict__.update(self.__dict__)
        return told

    def with_more(self, more: object) -> Self:
        """The same error, for a caller who is told this as well; its fields join the body."""
        told = copy(self)
        told.more = more
        return told


class Invalid(BasError):
    """The request itself is wrong; sending it again will not help."""

    error = "Invalid request"
    code = "INVALID_REQUEST"


class InvalidField(Invalid):
    """One named field has a wrong type or value."""

    code = "INVALID_FIELD"

    def __init__(self, field: str, why: str, error: str | None = None) -> None:
        super().__init__(error or f"Invalid value for {field}", message=f"{field}: {why}")
        self.field = field


class TooLarge(BasError):
    """The body is longer than any may be."""

    error = "Request Entity Too Large"
    code = "TOO_LARGE"


class UnsupportedMedia(BasError):
    """The body is not JSON."""

    error = "Unsupported media type"
    code = "UNSUPPORTED_MEDIA_TYPE"


class Unauthenticated(BasError):
    """Nobody, or nobody known, is asking."""

    error = "Invalid or expired session"
    code = "SESSION_INVALID"


class Forbidden(BasError):
    """The caller is known and may not do this."""

    error = "Insufficient permissions"
    code = "PERMISSION_DENIED"


class NotFound(BasError):
    """What the request names does not exist for this caller."""

    error = "Not found"
    code = "NOT_FOUND"


class Conflict(BasError):
    """The request does not fit what is stored."""

    error = "Conflict"
    code = "CONFLICT"


class Misdirected(BasError):
    """The request names a host that is not this server."""

    error = "Misdirected request"
    code = "MISDIRECTED_REQUEST"


class Unprocessable(BasError):
    """A key was used again for something else."""

    error = "Idempotency key reused with another reading"
    code = "IDEMPOTENCY_KEY_REUSED"


class Locked(BasError):
    """Too many failed log-ins for this account."""

    error = "Account locked"
    code = "USER_LOCKED"

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(message=f"Try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class RateLimited(BasError):
    """Too many attempts from one address."""

    error = "Too many attempts"
    code = "RATE_LIMITED"

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(message=f"Try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class Unavailable(BasError):
    """The server cannot do this now; the same request may succeed later."""

    error = "Service unavailable"
    code = "UNAVAILABLE"
