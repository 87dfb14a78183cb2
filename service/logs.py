"""Lines of the server's log, to be read by people or, as JSON, by machines; each names its request, none quotes an error's words.

Knows forms and levels. Does not know what is logged.
"""

import logging
import sys
import time
from typing import Any, TextIO

from pythonjsonlogger.json import JsonFormatter

from service import request_id
from service.faults import describe

PACKAGES = ("service", "classifiers", "retrieval")
"""Whose lines are shown from the level of the settings on; of everybody else's, warnings."""

_FIELDS = ("asctime", "levelname", "name", "request_id", "message")
_NAMES = {"asctime": "time", "levelname": "level", "name": "logger", "exc_info": "error"}


def configure(form: str, level: str, stream: TextIO | None = None) -> None:
    """Send every log line of the process to the stream, by default standard error, as "text" or "json"."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.addFilter(_named)
    handler.setFormatter(Json() if form == "json" else Text())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for package in PACKAGES:
        logging.getLogger(package).setLevel(level.upper())


class _Wordless(logging.Formatter):
    """Of an error its type and trace alone: its message may quote a dropped text (law 7)."""

    converter = time.gmtime  # type: ignore[assignment]
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def formatException(self, ei: Any) -> str:
        return describe(ei[1]) if ei[1] is not None else ""

    def format(self, record: logging.LogRecord) -> str:
        record.exc_text = None  # another handler's form of it, with the message
        return super().format(record)


class Text(_Wordless):
    """2026-11-22T06:43:28.012Z INFO service.watching [req-1] POST /v1/screen 200 in 0.031 s"""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s")


class Json(_Wordless, JsonFormatter):
    """An object a line: time, level, logger, request_id (null outside of requests), message, and what else the line is given."""

    def __init__(self) -> None:
        JsonFormatter.__init__(self, list(_FIELDS), rename_fields=_NAMES)


def _named(record: logging.LogRecord) -> bool:
    record.request_id = request_id.current.get()
    return True
