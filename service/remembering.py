"""A judge of support that reads each claim with each passage once: the finalists of one reply say much the same.

For one reply only: readings are batched, and what is remembered from another reply could differ in its last digits (law 6).
"""

from collections.abc import Sequence

from retrieval import Judgement, SupportScorer


class Remembered:
    """The scorer given, asked only what it was not asked before."""

    def __init__(self, scorer: SupportScorer) -> None:
        self.threshold, self.version = scorer.threshold, scorer.version
        self._scorer = scorer
        self._known: dict[tuple[str, str, str], Judgement] = {}

    def judge(self, claims: Sequence[tuple[str, str, str]]) -> list[Judgement]:
        """One judgement for each, in order. What the scorer raises, and a count that does not match (ValueError), is not remembered."""
        new = list(dict.fromkeys(claim for claim in claims if claim not in self._known))
        if new:
            self._known |= zip(new, self._scorer.judge(new), strict=True)
        return [self._known[claim] for claim in claims]
