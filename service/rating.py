"""Rating that fails openly: whatever goes wrong, the candidates are ranked without ratings, and the log says so.

Knows faults. Does not know how ratings are made. What is rated has been screened: here nothing is decided but an order.
"""

import logging
import math
from collections.abc import Sequence

from classifiers import QualityRater, Rated
from classifiers.labelled import Turn
from service.faults import describe

log = logging.getLogger(__name__)


def rate(rater: QualityRater | None, context: Sequence[Turn], texts: Sequence[str]) -> list[Rated | None]:
    """One rating a text, None where there is no rater or its answer is of no use. Never raises."""
    none: list[Rated | None] = [None] * len(texts)
    if rater is None or not texts:
        return none
    try:
        found = list(rater.judge(context, texts))
    except Exception as error:
        log.error("ranked by likelihood: rating failed with %s", describe(error))
        return none
    if len(found) != len(texts):
        log.error("ranked by likelihood: the rater answered with %d rows instead of %d", len(found), len(texts))
        return none
    useless = sum(not _sound(each) for each in found)
    if useless:
        log.error("ranked by likelihood: %d of %d ratings are not probabilities", useless, len(found))
    return [each if _sound(each) else None for each in found]


def _sound(rated: object) -> bool:
    if not isinstance(rated, Rated):
        return False
    return all(
        isinstance(p, int | float) and math.isfinite(p) and 0 <= p <= 1
        for p in (rated.sensible, rated.specific, rated.interesting)
    )
