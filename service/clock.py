"""Wall-clock time by phase. Knows seconds and nothing of what takes them."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

around: ContextVar[Callable[[str], AbstractContextManager[Any]]] = ContextVar(
    "winnow_around_phases", default=nullcontext
)
"""What else goes with each phase of this context, by its name: a span of a trace."""


class Clock:
    """Adds up the seconds spent in each named phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            with around.get()(phase):
                yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - start
