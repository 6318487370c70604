"""LogLines, JsonLines: write each log record as one line, whatever strangers' texts are in it."""

from __future__ import annotations

import json
import logging
import time

from server.common.request_id import current_request


class LogLines(logging.Formatter):
    """Escapes every character of a message that does not print, such as a line break.

    Otherwise a client could forge lines: the path of a request may contain a line break. A
    traceback follows its message in lines of its own. The id of a request stands in brackets.
    """

    def __init__(self) -> None:
        super().__init__(
            "%(asctime)s %(process)d %(levelname)s %(name)s%(request)s %(message)s",
        )

    def formatMessage(self, record: logging.LogRecord) -> str:
        request = current_request.get()
        record.request = f" [{request}]" if request else ""
        text = super().formatMessage(record)
        return text if text.isprintable() else "".join(map(_shown, text))


class JsonLines(logging.Formatter):
    """Writes a JSON object for each record; a traceback is one of its fields.

    Fields: time (RFC 3339, UTC), level, logger, pid, message; request_id and traceback where the
    record has them.
    """

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields: dict[str, object] = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        if request := current_request.get():
            fields["request_id"] = request
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)


FORMATS: dict[str, type[logging.Formatter]] = {"text": LogLines, "json": JsonLines}
"""By the values of BAS_LOG_FORMAT."""


def _shown(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode()
