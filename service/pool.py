"""Requests in threads: so many at a time, so many waiting, each until its deadline. The event loop never blocks.

Knows threads, turns and tickets. Does not know what is run.
"""

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from service.ticket import GivenUp, Ticket

T = TypeVar("T")
LONGEST_RETRY = 60
"""Seconds that somebody is told to wait at most."""


class QueueFull(RuntimeError):
    """As many requests wait as may; the message names the limit. `retry_after`: in how many seconds there may be room."""

    def __init__(self, limit: int, retry_after: int) -> None:
        super().__init__(f"{limit} requests already wait (max_queue); try again soon")
        self.retry_after = retry_after


class TooLate(RuntimeError):
    """The request's time was over before its answer was there."""


class Pool:
    """Runs `running` requests at a time, each in a thread; at most `waiting` more may wait."""

    def __init__(self, running: int, waiting: int, seconds: float | None = None) -> None:
        """`seconds`: from asking to the answer, waiting included, for each request."""
        self._threads = ThreadPoolExecutor(running, thread_name_prefix="winnow-request")
        self._running, self._waiting, self._seconds = running, waiting, seconds
        self._tickets: set[Ticket] = set()
        self._taken = 1.0
        """Seconds that a request took lately, waiting left out."""

    @property
    def running(self) -> int:
        """Requests that have their turn."""
        return min(len(self._tickets), self._running)

    @property
    def waiting(self) -> int:
        """Requests that wait for it."""
        return len(self._tickets) - self.running

    async def run(self, work: Callable[[Ticket], T]) -> T:
        """The result of `work(ticket)`. Raises `QueueFull`, `TooLate`, and whatever `work` raises.

        Whoever is cancelled while waiting for it, or too late, cancels the ticket; the place is free when the work has seen that.
        """
        if len(self._tickets) >= self._running + self._waiting:
            raise QueueFull(self._waiting, self._retry_after())
        ticket = Ticket(self._seconds)
        loop = asyncio.get_running_loop()
        future: Future[T] = self._threads.submit(self._work, work, ticket)
        self._tickets.add(ticket)
        # The callback runs in the request's thread, or here where it never began.
        future.add_done_callback(lambda _: _call_soon(loop, lambda: self._tickets.discard(ticket)))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._seconds)
        except (TimeoutError, GivenUp) as error:
            if isinstance(error, TimeoutError) and not ticket.over:
                raise  # the work's own
            raise TooLate(f"the answer took longer than {self._seconds:g} s (request_seconds)") from None
        finally:
            ticket.cancel()

    def close(self) -> None:
        """Nothing more is begun, and what runs is told to stop."""
        for ticket in list(self._tickets):
            ticket.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _work(self, work: Callable[[Ticket], T], ticket: Ticket) -> T:
        ticket.check()
        started = ticket.now()
        try:
            found = work(ticket)
        except StopIteration:  # which no awaitable may raise: whoever waits would never hear of it
            raise RuntimeError("something had no next element") from None
        ticket.check()
        self._taken += (ticket.now() - started - self._taken) / 8
        return found

    def _retry_after(self) -> int:
        return min(LONGEST_RETRY, max(1, math.ceil(self._taken * (1 + self._waiting / self._running))))


def _call_soon(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(what)
