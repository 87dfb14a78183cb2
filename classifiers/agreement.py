"""How far a judge agrees with people: accuracy, the majority class beside it, and Cohen's kappa.

Knows labels and verdicts. Not a number where a measure is not defined.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def accuracy(labels: NDArray[np.bool_], said: NDArray[Any]) -> float:
    """Share of the rows on which label and verdict (true above .5) are the same."""
    return float((labels == (said > 0.5)).mean()) if len(labels) else float("nan")


def majority(labels: NDArray[np.bool_], said: NDArray[Any] | None = None) -> float:
    """Accuracy of always saying what most labels say, in [.5, 1]."""
    return float(max(labels.mean(), 1 - labels.mean())) if len(labels) else float("nan")


def kappa(labels: NDArray[np.bool_], said: NDArray[Any]) -> float:
    """Cohen's kappa (1960): agreement beyond what the two shares of "unsafe" would give by chance. 1 is perfect, 0 chance; not a number
    where chance alone agrees always.
    """
    if not len(labels):
        return float("nan")
    p, q = labels.mean(), (said > 0.5).mean()
    chance = p * q + (1 - p) * (1 - q)
    return float((accuracy(labels, said) - chance) / (1 - chance)) if chance < 1 else float("nan")
