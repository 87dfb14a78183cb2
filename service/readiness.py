"""Whether requests should be sent here: what is amiss, and what is worth a look but stops nothing.

Knows the parts that can fail while the server runs. Does not know HTTP.
"""

import time
from collections.abc import Callable

from service.decision_log import DecisionLog
from service.generator import Generator
from service.model_worker import ModelWorker
from service.reloading import Live
from service.weights import Weights

TRY_SECONDS = 30.0
"""A durable log that failed is no reason any more when so long nothing was written: only a request can find out that it is mended."""


class Readiness:
    """Looks when it is asked. A reason: no request can be answered, or a start now would fail. A warning: all are answered."""

    def __init__(
        self,
        live: Live,
        weights: Weights,
        model_worker: ModelWorker,
        decision_log: DecisionLog | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` in seconds."""
        self.live, self.decision_log = live, decision_log
        self._weights, self._model_worker, self._clock = weights, model_worker, clock
        self._lost = 0, clock()

    def reasons(self, ask_upstream: bool = True) -> list[str]:
        """Why the server is not ready; none where it is. With `ask_upstream` an upstream server is asked, which may take as long as a
        connection does.
        """
        self._weights.watch(self.live.current().weights)
        found = self._weights.faults()
        if self._model_worker.stuck:
            found.append("the models' threads hang: nothing is run until one comes back")
        if ask_upstream and (why := _unready(self.live.current().generator)):
            found.append(why)
        if (error := self._log_error()) and self._durable and self._failed_lately():
            found.append(f"the decision log cannot be written, and durable is set: {error}")
        return found

    def warnings(self) -> list[str]:
        """What an operator should look at."""
        found = self.live.warnings
        if (error := self._log_error()) and not (self._durable and self._failed_lately()):
            found.append(f"the last decisions were not logged: {error}")
        return found

    @property
    def _durable(self) -> bool:
        return self.decision_log is not None and self.decision_log.durable

    def _log_error(self) -> str | None:
        return self.decision_log.error if self.decision_log else None

    def _failed_lately(self) -> bool:
        lost = self.decision_log.lost if self.decision_log else 0
        if lost != self._lost[0]:
            self._lost = lost, self._clock()
        return self._clock() - self._lost[1] < TRY_SECONDS


def _unready(generator: Generator) -> str | None:
    """Why an upstream server cannot be asked now; None where it can, and of a local model."""
    look = getattr(generator, "unready", None)
    return look() if look else None
