"""Ranking: the survivors by LaMDA's 3 P(sensible) + P(specific) + P(interesting), those that the evidence supports first.

Knows survivors with their ratings, and passages. Where one could not be rated, length-normalised log-likelihood ranks them all.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from retrieval import Grounding, Hit, ground
from service.decisions import Judged

SUPPORT_WEIGHT = 2.0
"""What a wholly supported reply gains over an unsupported one, in nats a token: more than likelihoods usually differ by."""

RATED_SUPPORT_WEIGHT = 3.0
"""The same beside ratings, in [0, 5]: as much as making sense, so that a supported reply comes first unless it is nonsense."""

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
    """The survivors, best first, by their ratings and by the words that they share with the evidence; of those alike to a hundredth
    the likelier first. Equals keep the order in which they were sampled.
    """

    def support(judged: Judged) -> float:
        if not hits:
            return 0.0
        return ground(judged.candidate.text, _Given(hits), question, weight).score or 0.0

    def worth(judged: Judged) -> tuple[float, float]:
        likelihood = judged.candidate.mean_log_likelihood
        if not rated or judged.rated is None:
            return likelihood + SUPPORT_WEIGHT * support(judged), 0.0
        return round(judged.rated.rank_score + RATED_SUPPORT_WEIGHT * support(judged), 2), likelihood

    rated = all(judged.rated is not None for judged in survivors)
    return sorted(survivors, key=worth, reverse=True)


def merit(judged: Judged) -> tuple[float, float]:
    """What a candidate is worth by itself: by its rating, of equal ratings by its likelihood. An unrated one comes after rated ones."""
    rating = judged.rated.rank_score if judged.rated is not None else 0.0
    return round(rating, 2), judged.candidate.mean_log_likelihood


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
