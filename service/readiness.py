"""Whether requests should be sent here: what is amiss, and what is worth a look but stops nothing.

Knows the parts that can fail while the server runs. Does not know HTTP.
"""

from dataclasses import dataclass

from service.decision_log import DecisionLog
from service.generator import Generator
from service.model_worker import ModelWorker
from service.reloading import Live
from service.weights import Weights


@dataclass(frozen=True)
class Readiness:
    """Looks when it is asked. A reason: no request can be answered, or a start now would fail. A warning: all are answered."""

    live: Live
    weights: Weights
    model_worker: ModelWorker
    decision_log: DecisionLog | None = None

    def reasons(self, ask_upstream: bool = True) -> list[str]:
        """Why the server is not ready; none where it is. With `ask_upstream` an upstream server is asked, which may take as long as a
        connection does.
        """
        found = self.weights.faults()
        if self.model_worker.stuck:
            found.append("the models' threads hang: nothing is run until one comes back")
        if ask_upstream and (why := _unready(self.live.current().generator)):
            found.append(why)
        if self.decision_log and self.decision_log.durable and (error := self.decision_log.error):
            found.append(f"the decision log cannot be written, and durable is set: {error}")
        return found

    def warnings(self) -> list[str]:
        """What an operator should look at."""
        found = []
        if self.live.warning:
            found.append(f"the index in service stays, the new one cannot be read: {self.live.warning}")
        if self.decision_log and not self.decision_log.durable and (error := self.decision_log.error):
            found.append(f"decisions are not logged: {error}")
        return found


def _unready(generator: Generator) -> str | None:
    """Why an upstream server cannot be asked now; None where it can, and of a local model."""
    look = getattr(generator, "unready", None)
    return look() if look else None
