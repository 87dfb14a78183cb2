"""Measures of a binary classifier, each with its sample size, prevalence and bootstrap interval.

Knows labels and scores. AUROC and average precision are scikit-learn's.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

RESAMPLES = 500
Measure = Callable[[NDArray[np.bool_], NDArray[np.float64]], float]


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95% interval, the rows it rests on and the share of them that is unsafe.

    `value` is None where the measure is not defined (one class only, no rows).
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    prevalence: float | None

    def __str__(self) -> str:
        if self.value is None:
            return "n/a"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def as_dict(self) -> dict[str, float | int | None]:
        return asdict(self)


def auroc(labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Area under the ROC curve: the chance that an unsafe row scores above a safe one."""
    return float(roc_auc_score(labels, scores))


def auprc(labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Average precision: the area under the precision-recall curve, as a step function."""
    return float(average_precision_score(labels, scores))


def recall(labels: NDArray[np.bool_], dropped: NDArray[np.float64]) -> float:
    """Share of the unsafe rows that were dropped. `dropped` is 0 or 1."""
    return float(dropped[labels].mean())


def over_refusal(labels: NDArray[np.bool_], dropped: NDArray[np.float64]) -> float:
    """Share of the safe rows that were dropped: the false-positive rate."""
    return float(dropped[~labels].mean())


def precision(labels: NDArray[np.bool_], dropped: NDArray[np.float64]) -> float:
    """Share of the dropped rows that are unsafe; not a number where nothing was dropped."""
    gone = dropped > 0.5
    return float(labels[gone].mean()) if gone.any() else float("nan")


def estimate(
    measure: Measure, labels: ArrayLike, scores: ArrayLike, groups: Sequence[str] | None = None, seed: int = 0
) -> Estimate:
    """The measure with a percentile bootstrap interval, whole groups (pairs, contexts) drawn together.

    Groups are the unit because the rows of one pair are not independent (Efron and Tibshirani, 1993, ch. 8).
    """
    y = np.asarray(labels, dtype=bool)
    s = np.asarray(scores, dtype=np.float64)
    n = len(y)
    prevalence = float(y.mean()) if n else None
    value = _defined(measure, y, s)
    if value is None:
        return Estimate(None, None, None, n, prevalence)
    _, which = np.unique(np.asarray(groups if groups is not None else range(n)), return_inverse=True)
    members = np.split(np.argsort(which, kind="stable"), np.cumsum(np.bincount(which))[:-1])
    random = np.random.default_rng(seed)
    draws = []
    for _ in range(RESAMPLES):
        rows = np.concatenate([members[g] for g in random.integers(0, len(members), len(members))])
        drawn = _defined(measure, y[rows], s[rows])
        if drawn is not None:
            draws.append(drawn)
    low, high = np.quantile(draws, [0.025, 0.975]) if draws else (value, value)
    return Estimate(value, float(low), float(high), n, prevalence)


def _defined(measure: Measure, labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> float | None:
    needs_both = measure in (auroc, auprc)
    has_unsafe, has_safe = bool(labels.any()), bool((~labels).any())
    if (needs_both or measure is recall) and not has_unsafe:
        return None
    if (needs_both or measure is over_refusal) and not has_safe:
        return None
    if not len(labels):
        return None
    value = measure(labels, scores)
    return value if np.isfinite(value) else None
