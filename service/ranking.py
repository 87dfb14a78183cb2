"""Ranking, first version: the survivors by length-normalised log-likelihood, those that the evidence supports first.

Knows survivors and passages. LaMDA's formula over sensible, specific and interesting comes with the quality classifier.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from retrieval import Hit, ground
from service.decisions import Judged

SUPPORT_WEIGHT = 2.0
"""What a wholly supported reply gains over an unsupported one, in nats a token: more than likelihoods usually differ by."""


@dataclass(frozen=True)
class _Given:
    """A retriever that knows only the passages it was given."""

    hits: Sequence[Hit]

    def search(self, query: str, k: int = 5) -> list[Hit]:
        return list(self.hits[:k])


def rank(
    survivors: Sequence[Judged], question: str, hits: Sequence[Hit], weight: Callable[[str], float], threshold: float
) -> list[Judged]:
    """The survivors, best first. Equal scores keep the order in which they were sampled."""

    def worth(judged: Judged) -> float:
        likelihood = judged.candidate.mean_log_likelihood
        if not hits:
            return likelihood
        grounding = ground(judged.candidate.text, _Given(hits), question, weight, threshold)
        return likelihood + SUPPORT_WEIGHT * (grounding.score or 0.0)

    return sorted(survivors, key=worth, reverse=True)
