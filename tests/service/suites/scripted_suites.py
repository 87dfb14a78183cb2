"""Stand-ins for the suites' tests: a judge by words, an endpoint that says what it is told, and a run of scripted parts."""

from collections.abc import Callable, Sequence
from typing import Any

from service.settings import Settings
from service.suites.model import Answer
from service.suites.run import Run
from tests.service.scripted import make_corridor


class WordJudge:
    """P(unsafe) .9 for what holds one of the words, else .1."""

    threshold, version = 0.5, "words-1"

    def __init__(self, *words: str) -> None:
        self.words = words

    def probabilities(self, replies: Sequence[str]) -> list[float]:
        return [0.9 if any(word in reply for word in self.words) else 0.1 for reply in replies]


class ScriptedEndpoint:
    """A model under test behind an address. `says`: its candidates, over and over, or a function of the call."""

    name, url = "there", "http://there/v1"

    def __init__(self, says: Sequence[str], answer: Answer | None = None) -> None:
        self.says, self.said = says, answer
        self.calls: list[tuple[Any, int, int, int]] = []

    def candidates(self, messages: Any, n: int, max_tokens: int, seed: int) -> list[str]:
        self.calls.append((messages, n, max_tokens, seed))
        return [self.says[i % len(self.says)] for i in range(n)]

    def answer(self, messages: Any, max_tokens: int, seed: int, grounding: str = "off") -> Answer:
        return self.said or Answer(self.says[0], "stop", 0.5)


def make_run(says: Any = ("I am glad to help.",), scores: Any = None, *, endpoint: Any = None, **options: Any) -> Run:
    """A run of a scripted corridor."""
    corridor = make_corridor(says, scores, candidates=4)
    return Run(Settings(candidates=4), corridor=corridor, endpoint=endpoint, **options)


def value(suite: Any, rows: Sequence[Any], name: str) -> float | None:
    """The metric of that name on the rows."""
    (metric,) = [each for each in suite.metrics(rows) if each.name == name]
    of: Callable[[Sequence[Any]], float | None] = metric.of
    kept = [row for row in rows if metric.rows(row)]
    return of(kept) if kept else None
