"""One worker for the models: requests wait their turn in a queue of bounded length, and the event loop never blocks.

Knows waiting. Does not know what is run.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from service.request_id import carried

T = TypeVar("T")


class QueueFull(RuntimeError):
    """As many requests wait as may; the message names the limit."""


class Worker:
    """Runs one thing at a time in a thread of its own; at most `max_queue` more may wait."""

    def __init__(self, max_queue: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="winnow-worker")
        self._max_queue = max_queue
        self._pending = 0

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work()`. Raises `QueueFull`, and whatever `work` raises."""
        if self._pending > self._max_queue:
            raise QueueFull(f"{self._max_queue} requests already wait (max_queue); try again soon")
        self._pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, carried(work))
        finally:
            self._pending -= 1

    @property
    def running(self) -> int:
        return min(self._pending, 1)

    @property
    def waiting(self) -> int:
        return self._pending - self.running

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
