"""The corridor of one request among many: its parts hand their work to the one models' thread, under the request's ticket.

Knows what each part is asked. Does not know when it is done nor with whom (`model_worker.py`, `scheduling.py`).

The same seed and messages give the same noise for every draw, alone or in company. What company can change is the last digits of the
model's logits, as another batch size does: where two tokens are as good as equal, another may be drawn, in half precision more
often than in single. `batch_rows = 1` rules it out: every row is then computed by itself.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from classifiers import QualityRater, Rated, SafetyScorer, Verdict
from classifiers.labelled import Turn
from retrieval import Judgement, SupportScorer, Toolset
from retrieval.tools import Tool
from service.chat import Corridor
from service.generator import Candidate, Drawn, Generator, LocalGenerator, Message, Sampling, Wanted
from service.model_worker import ModelWorker
from service.scheduling import Order
from service.ticket import Ticket


def batched(corridor: Corridor, worker: ModelWorker, ticket: Ticket) -> Corridor:
    """The corridor for the request of this ticket, to be used in the request's own thread.

    A generator that is not local waits for somebody else's model; it is asked in the request's thread.
    """
    generator, support, quality, toolset = corridor.generator, corridor.support, corridor.quality, corridor.toolset
    if isinstance(generator, LocalGenerator):
        generator = BatchingGenerator(generator, worker, ticket)
    if support is not None:
        support = BatchingSupport(support, worker, ticket)
    if quality is not None:
        quality = BatchingQuality(quality, worker, ticket)
    if isinstance(toolset, Toolset) and toolset.translator is not None:
        toolset = replace(toolset, translator=BatchingTool(toolset.translator, worker, ticket))
    safety = BatchingSafety(corridor.safety, worker, ticket)
    # How long judging may take is for the worker to say, which knows when it began: a wait among other requests is no hang.
    settings = corridor.settings.model_copy(update={"screen_seconds": threading.TIMEOUT_MAX})
    return replace(
        corridor,
        generator=generator,
        safety=safety,
        toolset=toolset,
        support=support,
        quality=quality,
        settings=settings,
    )


def followed(generator: Generator, on_text: Callable[[str], None]) -> Generator:
    """The generator, which tells the text of a single candidate so far, where it is one that can."""
    return generator.followed(on_text) if isinstance(generator, BatchingGenerator) else generator


class BatchingGenerator(Generator):
    """A local generator whose candidates are decoded among those of other requests."""

    def __init__(
        self,
        generator: LocalGenerator,
        worker: ModelWorker,
        ticket: Ticket,
        on_text: Callable[[str], None] | None = None,
    ) -> None:
        self.name = generator.name
        self._generator, self._worker, self._ticket, self._on_text = generator, worker, ticket, on_text

    def followed(self, on_text: Callable[[str], None]) -> "BatchingGenerator":
        """The same, telling the text so far: see `Order`."""
        return BatchingGenerator(self._generator, self._worker, self._ticket, on_text)

    def sample(self, messages: Sequence[Message], n: int, sampling: Sampling) -> list[Candidate]:
        """Raises `PromptTooLong`, ValueError for n < 1, `ticket.GivenUp`, `model_worker.Stalled`; so do the others."""
        return self._worker.sample(Order(messages, n, sampling, self._ticket, self._on_text))

    def sample_each(self, wanted: Sequence[Wanted]) -> list[Drawn]:
        """As `generator.sample_each`."""
        return list(self._worker.sample_each([Order(*each, self._ticket, self._on_text) for each in wanted]))

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return self._worker.call(lambda: self._generator.count_tokens(messages), self._ticket)

    def log_likelihoods(self, messages: Sequence[Message], texts: Sequence[str]) -> list[float]:
        return self._worker.call(lambda: self._generator.log_likelihoods(messages, texts), self._ticket)


class BatchingSafety(SafetyScorer):
    """A safety scorer whose texts are judged among those of other requests, where it can do that."""

    def __init__(self, scorer: SafetyScorer, worker: ModelWorker, ticket: Ticket) -> None:
        self.version = scorer.version
        self._scorer, self._worker, self._ticket = scorer, worker, ticket

    def scores(self, context: Sequence[Turn], replies: Sequence[str], role: str = "assistant") -> Any:
        return self._worker.scores(self._scorer, (context, replies, role), self._ticket)

    @property
    def explain(self) -> Callable[..., Verdict] | None:
        look = getattr(self._scorer, "explain", None)
        return look and (lambda *given: self._worker.call(lambda: look(*given), self._ticket))


class BatchingSupport(SupportScorer):
    """A judge of support in the models' thread."""

    def __init__(self, scorer: SupportScorer, worker: ModelWorker, ticket: Ticket) -> None:
        self.threshold, self.version = scorer.threshold, scorer.version
        self._scorer, self._worker, self._ticket = scorer, worker, ticket

    def judge(self, claims: Sequence[tuple[str, str, str]]) -> Sequence[Judgement]:
        return self._worker.call(lambda: self._scorer.judge(claims), self._ticket)


class BatchingQuality(QualityRater):
    """A rater in the models' thread, where the states that it reads were made."""

    def __init__(self, rater: QualityRater, worker: ModelWorker, ticket: Ticket) -> None:
        self.version = rater.version
        self._rater, self._worker, self._ticket = rater, worker, ticket

    def judge(self, context: Sequence[Turn], replies: Sequence[str]) -> Sequence[Rated]:
        return self._worker.call(lambda: self._rater.judge(context, replies), self._ticket)


class BatchingTool(Tool):
    """A tool with a model of its own, in the models' thread."""

    def __init__(self, tool: Tool, worker: ModelWorker, ticket: Ticket) -> None:
        self.name, self.installed = tool.name, tool.installed
        self._tool, self._worker, self._ticket = tool, worker, ticket

    def __call__(self, text: str) -> list[str]:
        return self._worker.call(lambda: self._tool(text), self._ticket)
