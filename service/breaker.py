"""A circuit breaker: a server that failed often in a row is left alone for a while, and then tried with one call.

Knows failures and time. Does not know what is called. Not safe across threads: every call is made on one event loop.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FAILURES = 5
"""Failures in a row after which the circuit is open."""
PAUSE = 15.0
"""Seconds until one call is let through."""


class Open(Exception):
    """The circuit is open. `seconds`: until a call may be let through; `failures` in a row; `last`: the last of them."""

    def __init__(self, seconds: float, failures: int, last: BaseException | None) -> None:
        super().__init__(f"the circuit is open after {failures} failures in a row")
        self.seconds, self.failures, self.last = seconds, failures, last


class Breaker:
    """Closed, calls pass. After `failures` in a row it is open and none does; `pause` seconds later it is half-open: one call passes,
    and closes or opens it again. `clock` in seconds.
    """

    def __init__(
        self, failures: int = FAILURES, pause: float = PAUSE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._pause, self._clock = failures, pause, clock
        self._failures = 0
        self._last: BaseException | None = None
        self._until: float | None = None
        self._trying = False

    @property
    def state(self) -> str:
        """ "closed", "open" or "half-open"."""
        if self._until is None:
            return "closed"
        return "open" if self._clock() < self._until else "half-open"

    def refusal(self) -> Open | None:
        """Why a call would not pass now; None where it would."""
        if self._until is None or (self.state == "half-open" and not self._trying):
            return None
        # While the one call is under way nobody knows for how long: a second is a guess that costs little.
        return Open(max(self._until - self._clock(), 1.0), self._failures, self._last)

    @contextmanager
    def guard(self, alive: Callable[[BaseException], bool]) -> Iterator[None]:
        """One call. `alive` says of an exception whether it shows that the server works all the same. Raises `Open`, and what the
        call raises.
        """
        refusal = self.refusal()
        if refusal is not None:
            raise refusal
        trial = self._until is not None
        self._trying = self._trying or trial
        try:
            yield
        except BaseException as error:
            if alive(error):
                self._succeeded(trial)
            else:
                self._failed(error, trial)
            raise
        else:
            self._succeeded(trial)

    def _succeeded(self, trial: bool) -> None:
        if self._until is None or trial:  # what began before the circuit opened does not close it
            self._failures, self._last, self._until, self._trying = 0, None, None, False

    def _failed(self, error: BaseException, trial: bool) -> None:
        self._failures, self._last = self._failures + 1, error
        if trial or (self._until is None and self._failures >= self._most):
            self._until, self._trying = self._clock() + self._pause, False
