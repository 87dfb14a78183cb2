"""Ranking: the survivors by LaMDA's 3 P(sensible) + P(specific) + P(interesting) and P(safe), those that the evidence supports first.

Knows survivors with their ratings, and passages. Where one could not be rated, length-normalised log-likelihood ranks them all.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from retrieval import Grounding, Hit, ground
from service.decisions import Judged
from service.generator import Candidate

SUPPORT_WEIGHT = 2.0
"""What a wholly supported reply gains over an unsupported one, in nats a token: more than likelihoods usually differ by."""
CLOSENESS_WEIGHT = 0.5
"""What claims gain besides for words that they share with the evidence, supported or not: who was shown it errs less."""
EVIDENCE_WEIGHT = 1.0
"""What a reply gains that was sampled with the evidence before it: a small model makes things up when left alone."""
CLAIMLESS = 0.3
CUT_OFF = 1.0
"""What a reply loses that was stopped at the token limit, in nats a token: most often it recites or rambles."""
RATED_NAT = 1.5
"""What a nat of the above is worth beside ratings, in [0, 5]: support then weighs as much as making sense."""

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
    """The survivors, best first, by their ratings, by whether they were shown the evidence and by the words that they share with it; of
    those alike to a hundredth the likelier first. Where one could not be rated, likelihood takes the place of the ratings. Equals
    keep the order in which they were sampled.
    """

    def besides(judged: Judged) -> float:
        """What speaks for a reply besides its own words, in nats a token."""
        cut = cut_off(judged.candidate)
        found = -CUT_OFF * cut
        if not hits:
            return found
        grounding = ground(judged.candidate.text, _Given(hits), question, weight, cut_off=cut)
        found += EVIDENCE_WEIGHT * judged.with_evidence
        return found + SUPPORT_WEIGHT * (grounding.score or 0.0) + CLOSENESS_WEIGHT * closeness(grounding)

    def worth(judged: Judged) -> tuple[float, float]:
        likelihood = judged.candidate.mean_log_likelihood
        if not rated or judged.rated is None:
            return likelihood + besides(judged), 0.0
        return round(expected(judged) + RATED_NAT * besides(judged), 2), likelihood

    rated = all(judged.rated is not None for judged in survivors)
    return sorted(survivors, key=worth, reverse=True)


def merit(judged: Judged) -> tuple[float, float]:
    """What a candidate is worth by itself: by its rating, of equal ratings by its likelihood. An unrated one comes after rated ones."""
    return round(expected(judged), 2), judged.candidate.mean_log_likelihood


def expected(judged: Judged) -> float:
    """LaMDA's 3 P(sensible) + P(specific) + P(interesting) times P(safe), in [0, 5]: what passed may still be unsafe, and is then worth
    nothing. 0 where it is not rated.
    """
    return judged.rated.rank_score * (1 - judged.verdict.unsafe) if judged.rated is not None else 0.0


def settle(
    ranked: Sequence[Judged], ground: Callable[[Candidate], Grounding], wanted: int
) -> Iterator[tuple[Judged, Grounding]]:
    """The ranked survivors with their grounding: of the first few, those come first of whose claims most are supported, and last
    those of whose claims most are contradicted; of equals, who is closer to being supported. No more are grounded than it takes.
    """
    found: list[tuple[Judged, Grounding]] = []
    for judged in ranked[: wanted - 1 + FINALISTS]:
        found.append((judged, ground(judged.candidate)))
        if sum(share(grounding) == 1 for _, grounding in found) == wanted:
            break
    yield from sorted(found, key=lambda pair: (-share(pair[1]), -round(closeness(pair[1]), 1)))
    for judged in ranked[len(found) :]:
        yield judged, ground(judged.candidate)


def share(grounding: Grounding) -> float:
    """Supported less contradicted claims over claims, in [-1, 1]; 0.0 without claims, for absence is not support (law 5)."""
    if not grounding.claims:
        return 0.0
    return (grounding.supported_count - grounding.contradicted_count) / grounding.claim_count


def closeness(grounding: Grounding) -> float:
    """The mean support of the claims, in [0, 1]; of a reply without claims, what unsupported ones have at most: it is not wrong."""
    if not grounding.claims:
        return CLAIMLESS
    return sum(claim.support for claim in grounding.claims) / grounding.claim_count


def cut_off(candidate: Candidate) -> bool:
    """Whether the candidate was stopped before its end: at the token limit, or by an upstream server's own filter."""
    return candidate.finish_reason != "stop"
