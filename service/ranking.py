"""Ranking, first version: the survivors by length-normalised log-likelihood, those that the evidence supports first.

Knows survivors and passages. LaMDA's formula over sensible, specific and interesting comes with the quality classifier.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from retrieval import Grounding, Hit, ground
from service.decisions import Judged

SUPPORT_WEIGHT = 2.0
"""What a wholly supported reply gains over an unsupported one, in nats a token: more than likelihoods usually differ by."""


FINALISTS = 3
"""Survivors of which one is picked by its sources."""


@dataclass(frozen=True)
class _Given:
    """A retriever that knows only the passages it was given."""

    hits: Sequence[Hit]

    def search(self, query: str, k: int = 5) -> list[Hit]:
        return list(self.hits[:k])


def rank(
    survivors: Sequence[Judged], question: str, hits: Sequence[Hit], weight: Callable[[str], float]
) -> list[Judged]:
    """The survivors, best first, by likelihood and by the words that they share with the evidence. Equal scores keep the order in
    which they were sampled.
    """

    def worth(judged: Judged) -> float:
        likelihood = judged.candidate.mean_log_likelihood
        if not hits:
            return likelihood
        grounding = ground(judged.candidate.text, _Given(hits), question, weight)
        return likelihood + SUPPORT_WEIGHT * (grounding.score or 0.0)

    return sorted(survivors, key=worth, reverse=True)


def settle(
    ranked: Sequence[Judged], ground: Callable[[str], Grounding], wanted: int
) -> Iterator[tuple[Judged, Grounding]]:
    """The ranked survivors with their grounding: of the first few, those come first of whose claims most are supported, and last
    those of whose claims most are contradicted. No more are grounded than it takes.
    """
    found: list[tuple[Judged, Grounding]] = []
    for judged in ranked[: wanted - 1 + FINALISTS]:
        found.append((judged, ground(judged.candidate.text)))
        if sum(share(grounding) == 1 for _, grounding in found) == wanted:
            break
    yield from sorted(found, key=lambda pair: -share(pair[1]))
    for judged in ranked[len(found) :]:
        yield judged, ground(judged.candidate.text)


def share(grounding: Grounding) -> float:
    """Supported less contradicted claims over claims, in [-1, 1]; 0.0 without claims, for absence is not support (law 5)."""
    if not grounding.claims:
        return 0.0
    return (grounding.supported_count - grounding.contradicted_count) / grounding.claim_count
