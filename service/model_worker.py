"""The one thread that runs the models: steps of generation, and whatever else is asked of it in between.

Knows turns, batches and stalls. Does not know what is computed.

A turn: short work for a moment, one batch of texts to be judged, one step for all candidates. So nobody waits for longer than that for
their own next step. A thread cannot be killed: one that hangs is left behind, its work has failed, and another goes on.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from classifiers import SafetyScorer
from classifiers.labelled import Turn
from service.faults import describe
from service.generator import Candidate, LocalGenerator, PromptTooLong
from service.request_id import carried
from service.scheduling import Order, Scheduler, settle
from service.ticket import GivenUp, Ticket

T = TypeVar("T")
log = logging.getLogger(__name__)

MAX_HUNG = 4
"""Threads that may hang at once; past this nothing more is run until one comes back."""
CALL_SECONDS = 0.05
"""No further call is begun after so long, before the next step."""
LOOK_SECONDS = 0.1
"""Between two looks of somebody who waits: at their ticket, and whether the models' thread hangs."""

Asked = tuple[Sequence[Turn], Sequence[str], str]
"""(context, texts, role), as `SafetyScorer.scores` takes them."""


class Stalled(RuntimeError):
    """The models' thread hung while it worked on this, or too many threads hang already."""


@dataclass(eq=False)
class _Call:
    work: Callable[[], Any]
    ticket: Ticket
    answer: "Future[Any]" = field(default_factory=Future)


@dataclass(eq=False)
class _Reading:
    scorer: SafetyScorer
    asked: Asked
    ticket: Ticket
    work: Callable[[], Any]
    """What judges it by itself, in the name of its request."""
    answer: "Future[Any]" = field(default_factory=Future)
    alone: bool = False
    """Judging it with others has failed."""


class ModelWorker:
    """Runs what is handed to it, from any thread, in one thread of its own. `close` it in the end."""

    def __init__(
        self,
        generator: LocalGenerator | None = None,
        rows: int = 64,
        wait_seconds: float = 0.005,
        stall_seconds: float = 60.0,
        step_seconds: float = 60.0,
        counted: Callable[[str, int], None] = lambda work, rows: None,
    ) -> None:
        """`generator`: whose candidates `sample` draws. `rows`: candidates, or texts to be judged, in one pass at most. An idle worker
        waits for `wait_seconds` whether more comes. A call or a judging that takes `stall_seconds` hangs, and so does a step of
        generation, reading prompts included, that takes `step_seconds`. `counted` is told of each pass: "generate" or "screen", and
        how many rows.
        """
        self._generator, self._rows = generator, rows
        self._wait_seconds, self._stall_seconds, self._step_seconds = wait_seconds, stall_seconds, step_seconds
        self._counted = counted
        self._changed = threading.Condition()
        self._calls: deque[_Call] = deque()
        self._readings: deque[_Reading] = deque()
        self._orders: deque[Order] = deque()
        self._scheduler = self._new_scheduler()
        self._closed = False
        self._epoch, self._hung = 0, 0
        self._busy: tuple[float, Sequence[Future[Any]], bool] | None = None
        self.passes: deque[int] = deque(maxlen=1000)
        """Candidates in each of the latest passes."""
        self._start()

    @property
    def stuck(self) -> bool:
        """Whether so many threads hang that nothing more is run."""
        return self._hung > MAX_HUNG

    def call(self, work: Callable[[], T], ticket: Ticket) -> T:
        """The result of `work()`. Raises what that raises, `GivenUp`, `Stalled`."""
        call = _Call(carried(work), ticket)
        result: T = self._done(call.answer, ticket, lambda: self._calls.append(call))
        return result

    def scores(self, scorer: SafetyScorer, asked: Asked, ticket: Ticket) -> Any:
        """What the scorer answers, together with others' texts where it can (`scores_many`). Raises as `call`."""
        reading = _Reading(scorer, asked, ticket, carried(partial(scorer.scores, *asked)))
        return self._done(reading.answer, ticket, lambda: self._readings.append(reading))

    def sample(self, order: Order) -> list[Candidate]:
        """The order's candidates. Raises `PromptTooLong`, and as `call`."""
        result: list[Candidate] = self._done(order.answer, order.ticket, lambda: self._orders.append(order))
        return result

    def sample_each(self, orders: Sequence[Order]) -> list[list[Candidate] | PromptTooLong]:
        """The candidates of each order of one request, drawn at the same time, or why it has none. Raises as `call`."""
        for order in orders:
            self._hand_in(order.ticket, partial(self._orders.append, order))
        found: list[list[Candidate] | PromptTooLong] = []
        for order in orders:
            try:
                found.append(self._awaited(order.answer, order.ticket))
            except PromptTooLong as error:
                found.append(error)
        return found

    def close(self) -> None:
        """Nothing more is begun; who waits is told `GivenUp`."""
        with self._changed:
            self._closed = True
            self._fail_all(GivenUp())
            self._changed.notify_all()

    # For those who wait

    def _done(self, answer: "Future[Any]", ticket: Ticket, hand_in: Callable[[], None]) -> Any:
        self._hand_in(ticket, hand_in)
        return self._awaited(answer, ticket)

    def _hand_in(self, ticket: Ticket, hand_in: Callable[[], None]) -> None:
        ticket.check()
        with self._changed:
            if self._closed:
                raise GivenUp
            if self._hung > MAX_HUNG:
                raise Stalled(f"{self._hung} threads hang; nothing more is run")
            hand_in()
            self._changed.notify_all()

    def _awaited(self, answer: "Future[Any]", ticket: Ticket) -> Any:
        while not wait([answer], min(LOOK_SECONDS, self._stall_seconds / 4)).done:
            self._look()
            ticket.check()
        return answer.result()

    def _look(self) -> None:
        """Leave the thread behind if it hangs, and let another go on."""
        with self._changed:
            if self._busy is None:
                return
            began, answers, generating = self._busy
            limit = self._step_seconds if generating else self._stall_seconds
            if time.monotonic() - began < limit:
                return
            log.error("the models' thread took longer than %s s for one thing; another goes on", limit)
            self._epoch, self._busy = self._epoch + 1, None
            self._hung += 1
            for answer in answers:
                settle(answer, Stalled("it took too long"))
            if generating:  # what the thread holds in its hands is not touched by another
                self._drop_orders(Stalled("it took too long"))
            if self._hung <= MAX_HUNG:
                self._start()
            else:
                log.error("%d threads hang; nothing more is run", self._hung)
                self._fail_all(Stalled("too many threads hang"))

    def _drop_orders(self, error: BaseException) -> None:
        for order in self._scheduler.orders if self._scheduler else ():
            settle(order.answer, error)
        self._scheduler = self._new_scheduler()

    def _fail_all(self, error: BaseException) -> None:
        orders = [*self._orders, *(self._scheduler.orders if self._scheduler else ())]
        running = self._busy[1] if self._busy else ()
        for answer in [*running, *(each.answer for each in (*self._calls, *self._readings, *orders))]:
            settle(answer, error)
        for waiting in (self._calls, self._readings, self._orders):
            waiting.clear()

    # In the models' thread

    def _new_scheduler(self) -> Any:
        return Scheduler(self._generator, self._rows) if self._generator is not None else None

    def _start(self) -> None:
        threading.Thread(target=self._run, args=(self._epoch,), daemon=True, name="winnow-models").start()

    def _run(self, epoch: int) -> None:
        while self._wait_for_work(epoch):
            try:
                self._turn(epoch)
            except _LeftBehind:
                break
            except BaseException as error:  # a fault of our own must not end the thread that everybody waits for
                log.error("a turn failed with %s", describe(error))
                with self._changed:
                    if self._epoch == epoch:
                        self._busy = None
                        self._drop_orders(error)
        with self._changed:
            if self._epoch != epoch:
                self._hung -= 1
                if self._hung == MAX_HUNG and not self._closed:
                    self._start()

    def _wait_for_work(self, epoch: int) -> bool:
        def gone() -> bool:
            return self._closed or self._epoch != epoch

        def asked() -> int:
            return len(self._calls) + len(self._readings) + len(self._orders)

        with self._changed:
            if not gone() and not asked() and (self._scheduler is None or self._scheduler.idle):
                self._changed.wait_for(lambda: gone() or asked() > 0)
                self._changed.wait_for(lambda: gone() or asked() >= self._rows, self._wait_seconds)
            return not gone()

    def _turn(self, epoch: int) -> None:
        started = time.monotonic()
        while time.monotonic() - started < CALL_SECONDS and (call := self._next_call()):
            self._guarded(epoch, [call.answer], partial(self._answer, call.answer, call.ticket, call.work))
        readings = self._next_readings()
        if readings:
            self._guarded(epoch, [each.answer for each in readings], partial(self._judge, readings))
        scheduler = self._scheduler
        if scheduler is None:
            return
        with self._changed:
            while self._orders:
                scheduler.add(self._orders.popleft())
        if not scheduler.idle:
            self._guarded(epoch, [], scheduler.turn, generating=True)
            if scheduler.rows:
                self.passes.append(scheduler.rows)
                self._counted("generate", scheduler.rows)

    def _guarded(
        self, epoch: int, answers: Sequence["Future[Any]"], work: Callable[[], None], generating: bool = False
    ) -> None:
        with self._changed:
            if self._epoch != epoch:
                raise _LeftBehind
            self._busy = time.monotonic(), answers, generating
        work()
        with self._changed:
            if self._epoch != epoch:
                raise _LeftBehind
            self._busy = None

    def _next_call(self) -> _Call | None:
        with self._changed:
            return self._calls.popleft() if self._calls else None

    def _next_readings(self) -> list[_Reading]:
        """Of one scorer that can judge them together, as many as make a pass; of any, one."""
        found: list[_Reading] = []
        texts = 0
        with self._changed:
            while self._readings:
                first = self._readings[0]
                texts += len(first.asked[1])
                alone = first.alone or not hasattr(first.scorer, "scores_many")
                if found and (alone or texts > self._rows or first.scorer is not found[0].scorer):
                    break
                found.append(self._readings.popleft())
                if alone:
                    break
        return found

    def _judge(self, readings: Sequence[_Reading]) -> None:
        """All of them together; where that fails each comes again, alone."""
        self._counted("screen", sum(len(each.asked[1]) for each in readings))
        if len(readings) == 1:
            (each,) = readings
            self._answer(each.answer, each.ticket, each.work)
            return
        together: Any = readings[0].scorer
        try:
            found = list(together.scores_many([each.asked for each in readings]))
            if len(found) != len(readings):
                raise ValueError(f"{len(found)} answers for {len(readings)}")
        except BaseException as error:  # a panic in a tokenizer's Rust is no Exception
            log.error("judging together failed, each is judged alone: %s", describe(error))
            with self._changed:
                for each in reversed(readings):
                    each.alone = True
                    self._readings.appendleft(each)
        else:
            for each, scores in zip(readings, found, strict=True):
                settle(each.answer, scores)

    def _answer(self, answer: "Future[Any]", ticket: Ticket, work: Callable[[], Any]) -> None:
        if answer.done():
            return  # it was given up while something before it hung
        try:
            ticket.check()
            settle(answer, work())
        except BaseException as error:
            settle(answer, error)


class _LeftBehind(Exception):
    """This thread hung for so long that another took its place."""
