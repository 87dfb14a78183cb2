"""The id of the request that is being worked on: the client's own where it names one, carried into every thread that works for it.

Knows the header and contexts. Does not know what is done under the id.
"""

import re
import secrets
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

HEADER = "x-request-id"
SOUND = re.compile(r"[A-Za-z0-9._:@+/=-]{1,128}")
"""What an id may look like: it goes into logs and headers, so no spaces, quotes or line ends."""

current: ContextVar[str | None] = ContextVar("winnow_request_id", default=None)
"""None outside of requests."""


def request_id(said: str | None) -> str:
    """The id that a client said, where it is sound; else one of our own."""
    return said if said is not None and SOUND.fullmatch(said) else f"req-{secrets.token_hex(12)}"


def carried(work: Callable[P, T]) -> Callable[P, T]:
    """The work as it would run here: threads of a pool do not know for whom they work (request id, trace) unless they are told.
    What this gives may be called once at a time.
    """
    context = copy_context()
    return lambda *args, **kwargs: context.run(work, *args, **kwargs)
