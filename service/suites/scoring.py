"""Scores of labelled exchanges, those of one context read together.

Knows exchanges and their contexts. The classifier is passed in.
"""

from collections.abc import Callable, Sequence

from classifiers import Safety, Scores
from classifiers.labelled import Example, Turn

TOGETHER = 32
"""Exchanges of one context that are judged in one batch."""


def scores_of(
    safety: Safety, examples: Sequence[Example], progress: Callable[[int], None] = lambda _: None
) -> list[Scores]:
    """Scores of each exchange, in order; those that share a context are judged together, which reads it once."""
    by_context: dict[tuple[tuple[Turn, ...], str], list[int]] = {}
    for i in sorted(range(len(examples)), key=lambda i: len(examples[i].reply)):
        by_context.setdefault((examples[i].context, examples[i].role), []).append(i)
    found: dict[int, Scores] = {}
    for (context, role), rows in by_context.items():
        for start in range(0, len(rows), TOGETHER):
            part = rows[start : start + TOGETHER]
            found |= zip(part, safety.scores(context, [examples[i].reply for i in part], role), strict=True)
            progress(len(part))
    return [found[i] for i in range(len(examples))]
