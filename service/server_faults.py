"""What may go wrong with a server that is asked over HTTP, and what an address and a key must look like.

Knows kinds of faults and their words. Their messages name server and field, and quote no text of a reply.
"""

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx

from service.breaker import Open

LONGEST_WISH = 60.0
"""Seconds that a server's own wish to wait is followed for."""

TOO_LONG = re.compile(r"context.?(length|size|window)|maximum context|exceed_context", re.IGNORECASE)


class ServerFault(ConnectionError):
    """The server cannot be used. `what`: the message without the address. `retry_after`: seconds that the server wishes to be left
    alone for, where it says so.
    """

    def __init__(self, server: str, what: str, retry_after: float | None = None) -> None:
        super().__init__(f"{server} {what}")
        self.what, self.retry_after = what, retry_after


class Unreachable(ServerFault):
    """No connection, one that broke, or a `status` of 500 and above."""

    def __init__(self, server: str, what: str, retry_after: float | None = None, status: int | None = None) -> None:
        super().__init__(server, what, retry_after)
        self.status = status


class Busy(ServerFault):
    """It has too much to do (429, 408, 425)."""


class Slow(ServerFault):
    """A time limit was over before the answer was there."""


class Malformed(ServerFault):
    """An answer that is no chat completion, or too large."""


class Refused(ServerFault):
    """The server understood the request and will not answer it. `param`: which part of it, where it says so. `said`: its own words, not
    to be logged.
    """

    def __init__(
        self,
        server: str,
        what: str,
        status: int | None = None,
        param: str | None = None,
        code: str | None = None,
        said: str = "",
    ) -> None:
        super().__init__(server, what)
        self.status, self.param, self.code, self.said = status, param, code, said

    @property
    def too_long(self) -> bool:
        """Whether the conversation is more than the server's model takes: each kind of server has its own words for it."""
        return self.code == "context_length_exceeded" or bool(TOO_LONG.search(f"{self.code} {self.said}"))


class CircuitOpen(ServerFault):
    """It failed too often in a row and is left alone for a while."""

    def __init__(self, server: str, circuit: Open) -> None:
        last = getattr(circuit.last, "what", None) or "a call was given up"
        often = f"failed {circuit.failures} times in a row (the last time it {last})"
        super().__init__(server, f"{often} and is left alone for {math.ceil(circuit.seconds)} s", circuit.seconds)


def base_url(url: str, named: str) -> str:
    """The address that paths are added to. Raises ValueError, without showing a secret; `named`: what the user calls it."""
    parts = urlsplit(url)
    if parts.username or parts.password or parts.query:
        raise ValueError(f"{named} must hold no name, password or query, which would be shown")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{named} is {url!r}, not an address like http://localhost:8000/v1")
    path = parts.path.rstrip("/").removesuffix("/chat/completions") or "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}"


def checked_key(key: str | None, named: str) -> str | None:
    """The key without space around it; None for an empty one. Raises ValueError, without showing it, where no header may hold it."""
    key = (key or "").strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(f"{named} is no API key: it holds a space, or a character that no header may hold")
    return key or None


def retry_after(response: httpx.Response) -> float | None:
    """Seconds for which the server asks to be left alone (RFC 9110, 10.2.3), within reason; None where it does not say."""
    said = response.headers.get("retry-after", "")
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):  # no date, or one without a zone
            return None
    return min(max(seconds, 0.0), LONGEST_WISH) if math.isfinite(seconds) else None
