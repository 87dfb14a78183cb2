"""A request's leave to go on: until its deadline, and as long as somebody waits for it.

Knows time and a flag. Whoever works for a request looks at its ticket between steps.
"""

import threading
import time
from collections.abc import Callable


class GivenUp(BaseException):
    """Nobody waits for the answer any more. No `Exception`: what mends failures on the way must not mend this."""


class Ticket:
    """Good for so many seconds from now, None for ever, or until it is cancelled. Safe to share between threads."""

    def __init__(self, seconds: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends = None if seconds is None else clock() + seconds
        self._cancelled = threading.Event()

    def now(self) -> float:
        """Seconds, on the clock that it is measured by."""
        return self._clock()

    def cancel(self) -> None:
        self._cancelled.set()

    @property
    def over(self) -> bool:
        return self._cancelled.is_set() or (self._ends is not None and self._clock() >= self._ends)

    def check(self) -> None:
        """Raises `GivenUp` when it is over."""
        if self.over:
            raise GivenUp
