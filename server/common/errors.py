"""The errors that callers of this server get; `error_answers.py` holds their HTTP status codes."""

from __future__ import annotations

from copy import copy
from typing import Self


class BasError(Exception):
    """An error that a caller can act on.

    `error` is the short text, `code` the machine-readable name, `message` an optional hint;
    together with the fields of `more` they are the JSON body of an error answer.
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
        """A copy without the traceback, which would keep the objects of its frames in memory."""
        copied = type(self).__new__(type(self), *self.args)
        copied.__dict__.update(self.__dict__)
        return copied

    def with_more(self, more: object) -> Self:
        """A copy of this error whose JSON body also has the fields of `more`."""
        copied = copy(self)
        copied.more = more
        return copied


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
    """The body is longer than the server accepts."""

    error = "Request Entity Too Large"
    code = "TOO_LARGE"


class UnsupportedMedia(BasError):
    """The body is not JSON."""

    error = "Unsupported media type"
    code = "UNSUPPORTED_MEDIA_TYPE"


class Unauthenticated(BasError):
    """The request has no valid credentials."""

    error = "Invalid or expired session"
    code = "SESSION_INVALID"


class Forbidden(BasError):
    """The caller is known and may not do this."""

    error = "Insufficient permissions"
    code = "PERMISSION_DENIED"


class NotFound(BasError):
    """The object that the request names does not exist for this caller."""

    error = "Not found"
    code = "NOT_FOUND"


class Conflict(BasError):
    """The request conflicts with what is stored."""

    error = "Conflict"
    code = "CONFLICT"


class Misdirected(BasError):
    """The request names a host that is not this server."""

    error = "Misdirected request"
    code = "MISDIRECTED_REQUEST"


class Unprocessable(BasError):
    """An idempotency key was used again for a different reading."""

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
