"""Whose candidates are decoded in the next step: rows of several requests together, each request its fair part.

Knows rows, turns and room. Does not know threads: one thread alone may use a scheduler.

A request's candidates go in shares of a few rows. Of those that wait, the request with the fewest rows in the pass goes first, and
of equals the one that asked first. Where there is no room for a request that has none, the one with the most rows makes it.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any

from service.decoding import Draw, Lot, Share
from service.generator import Candidate, LocalGenerator, Message, Sampling
from service.ticket import GivenUp, Ticket

SHARE_ROWS = 8
"""Rows that come and go together: few enough to make room in, enough to fill a pass with a few requests."""
PROMPT_SECONDS = 0.1
"""No further prompt is read after so long, before the others' next step."""


class Order:
    """One call for candidates, from asking to answer. `answer` gets the candidates, or what was raised."""

    def __init__(
        self,
        messages: Sequence[Message],
        n: int,
        sampling: Sampling,
        ticket: Ticket,
        on_text: Callable[[str], None] | None = None,
    ) -> None:
        """`on_text` is told the text so far after every step, where there is one candidate."""
        self.messages, self.n, self.sampling, self.ticket, self.on_text = messages, n, sampling, ticket, on_text
        self.answer: Future[list[Candidate]] = Future()
        self.draw: Draw | None = None
        self.waiting: deque[Share] = deque()
        self.running: list[tuple[Lot, Share]] = []
        self.alone = False
        """A pass that it was in has failed: it has its next to itself."""

    @property
    def rows(self) -> int:
        """In a pass now."""
        return sum(len(share.live) for _, share in self.running)

    @property
    def rows_wanted(self) -> int:
        """By its next share."""
        return len(self.waiting[0].live) if self.waiting else min(self.n, SHARE_ROWS)

    @property
    def wants_in(self) -> bool:
        return self.draw is None or bool(self.waiting)

    def again(self) -> None:
        """Back to the beginning; what was drawn will be drawn again."""
        self.draw, self.alone = None, True
        self.waiting.clear()
        self.running.clear()


class Scheduler:
    """Steps all orders on, with at most `rows` candidates in a pass (more only where a model can not split a request)."""

    def __init__(self, generator: LocalGenerator, rows: int) -> None:
        self._generator, self._most = generator, rows
        self.orders: list[Order] = []
        self._lots: list[Lot] = []
        self._shared = generator.lot()

    @property
    def idle(self) -> bool:
        return not self.orders

    @property
    def rows(self) -> int:
        """In the passes of this step."""
        return sum(lot.rows for lot in self._lots)

    def add(self, order: Order) -> None:
        self.orders.append(order)

    def turn(self) -> None:
        """Drop what was given up, take in what there is room for, and one token more for every row. What fails goes to the orders."""
        for order in [order for order in self.orders if order.ticket.over]:
            self._end(order, GivenUp())
        self._admit()
        for lot in list(self._lots):
            if lot.shares:  # else what failed in another pass has left it
                self._step(lot)
            elif lot in self._lots:
                self._lots.remove(lot)

    def _admit(self) -> None:
        started = time.monotonic()
        joining: list[tuple[Order, Share]] = []
        taken = 0

        def waiting() -> list[Order]:
            return [order for order in self.orders if order.wants_in]

        while found := waiting():
            order = min(found, key=lambda each: each.rows + sum(len(s.live) for o, s in joining if o is each))
            used = self.rows + taken
            if used and used + order.rows_wanted > self._most:
                if order.rows or any(o is order for o, _ in joining) or not self._make_room():
                    break
                continue
            if order.draw is None:
                if time.monotonic() - started > PROMPT_SECONDS:
                    break
                self._begin(order)
                continue
            share = order.waiting.popleft()
            if order.alone or not order.draw.joinable:
                self._enter(self._generator.lot(), [(order, share)])
            else:
                joining.append((order, share))
                taken += len(share.live)
        self._enter(self._shared, joining)

    def _begin(self, order: Order) -> None:
        try:
            order.draw = self._generator.begin(order.messages, order.n, order.sampling)
        except Exception as error:
            self._end(order, error)
        else:
            order.waiting.extend(order.draw.shares(min(SHARE_ROWS, self._most)))

    def _make_room(self) -> bool:
        """Pause a share of whoever has the most rows in more than one share; False where nobody has."""
        able = [order for order in self.orders if len(order.running) > 1]
        if not able:
            return False
        order = max(able, key=lambda each: each.rows)
        lot, share = order.running.pop()
        lot.leave(share, keep=True)
        order.waiting.appendleft(share)
        return True

    def _enter(self, lot: Lot, joining: Sequence[tuple[Order, Share]]) -> None:
        if not joining:
            return
        for order, share in joining:
            order.running.append((lot, share))
        if lot not in self._lots:
            self._lots.append(lot)
        try:
            lot.join([share for _, share in joining])
        except Exception as error:
            self._failed(lot, error)

    def _step(self, lot: Lot) -> None:
        try:
            ended = lot.step()
            inside = self._inside(lot)
            for order in inside:
                order.running = [pair for pair in order.running if pair[1] not in ended]
                if order.on_text and order.n == 1 and order.draw:
                    order.on_text(self._generator.text(order.draw.rows[0].tokens))
                if order.draw and not order.running and not order.waiting:
                    self._end(order, self._generator.candidates(order.draw))
        except Exception as error:
            self._failed(lot, error)
        if not lot.shares and lot in self._lots:
            self._lots.remove(lot)

    def _failed(self, lot: Lot, error: Exception) -> None:
        """Who was alone in the pass has failed; who was not is tried alone, so that one request cannot spoil another."""
        inside = self._inside(lot)
        self._lots.remove(lot)
        if lot is self._shared:
            self._shared = self._generator.lot()
        for order in inside:
            if len(inside) == 1:
                self._end(order, error, lot)
            else:
                for other, share in order.running:
                    if other is not lot:
                        other.leave(share)
                order.again()

    def _inside(self, lot: Lot) -> list[Order]:
        return [order for order in self.orders if any(each is lot for each, _ in order.running)]

    def _end(self, order: Order, answer: Any, broken: Lot | None = None) -> None:
        self.orders.remove(order)
        for lot, share in order.running:
            if lot is not broken:
                lot.leave(share)
                if not lot.shares:
                    self._lots.remove(lot)
        order.running.clear()
        settle(order.answer, answer)


def settle(future: "Future[Any]", answer: Any) -> None:
    """Give the future its result, or have it raise what is an exception; nothing where it is settled already."""
    with suppress(InvalidStateError):
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(answer)
