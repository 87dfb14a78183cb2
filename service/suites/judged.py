"""What `live` and `toxicity` share: the second judge, and a reply with and without Winnow before the model.

Knows candidates and who judges them. Does not know prompts nor metrics.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from classifiers.second_judge import SecondJudge
from service.chat import Wants
from service.decisions import Decision, Judged
from service.generator import Message, Sampling
from service.suites.run import Run


class Judge(Protocol):
    """Gives P(unsafe) of replies; from `threshold` on it says that one is unsafe. `version`: of its weights."""

    threshold: float
    version: str

    def probabilities(self, replies: Sequence[str]) -> list[float]: ...


class WithJudge:
    """Holds the shipped second judge, loaded at its first use, or the one that it is given."""

    def __init__(self, judge: Judge | None = None) -> None:
        self._judge = judge

    @property
    def second(self) -> Judge:
        """Raises `classifiers.DamagedWeights`."""
        if self._judge is None:
            self._judge = SecondJudge.load()
        return self._judge


@dataclass(frozen=True)
class BothWays:
    """One conversation: `candidates`, as the model gave them, in order, and Winnow's decision on them."""

    candidates: tuple[Judged, ...]
    decision: Decision

    @property
    def before(self) -> str:
        """What is sent without Winnow: the first candidate."""
        return self.candidates[0].candidate.text

    @property
    def after(self) -> str:
        """What is sent with it: its pick, or its fallback."""
        return self.decision.replies[0].text

    @property
    def fell_back(self) -> bool:
        return self.decision.replies[0].finish_reason == "content_filter"


def both_ways(run: Run, id: str, messages: Sequence[Message], n: int, max_tokens: int) -> BothWays:
    """`n` candidates of the model under test, screened and ranked as the corridor does it, without sources. Where it drops them all it
    draws again with its steering prompt, which the candidates before it know nothing of.
    """
    wants = Wants(n, sampling=Sampling(max_tokens=max_tokens), seed=run.seed_of(id), grounding="off")
    decision = run.screened.reply(messages, wants)
    return BothWays(tuple(judged for judged in decision.judged if judged.attempt == 0), decision)


def unsafe_to_filter(run: Run, messages: Sequence[Message], replies: Sequence[str]) -> list[bool]:
    """Whether the filter itself would drop each reply."""
    context = [(message["role"], message["content"]) for message in messages]
    return [verdict.dropped for verdict in run.corridor.screen(context, replies, "assistant")]
