"""Measures of a binary classifier, each with its sample size, prevalence and bootstrap interval.

Knows labels and scores. A measure is not a number where it is not defined: no positives, one class only, nothing dropped. AUROC
and average precision are written out because scikit-learn checks its input at each of the bootstrap's hundreds of calls, which
costs ten times the work itself; the tests hold them to its answers.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

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
    """Area under the ROC curve: the chance that an unsafe row scores above a safe one, a tie counting half (Mann and Whitney)."""
    unsafe = int(labels.sum())
    pairs = unsafe * (len(labels) - unsafe)
    if not pairs:
        return float("nan")
    return float((rankdata(scores)[labels].sum() - unsafe * (unsafe + 1) / 2) / pairs)


def auprc(labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Average precision: the area under the precision-recall curve, as a step function over the distinct scores."""
    if labels.all() or not labels.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    lasts = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    hits = np.cumsum(labels[order])[lasts]
    return float((np.diff(hits, prepend=0) * hits / (lasts + 1)).sum() / labels.sum())


def recall(labels: NDArray[np.bool_], dropped: NDArray[np.float64]) -> float:
    """Share of the unsafe rows that were dropped. `dropped` is 0 or 1."""
    return _mean(dropped[labels])


def precision(labels: NDArray[np.bool_], dropped: NDArray[np.float64]) -> float:
    """Share of the dropped rows that are unsafe."""
    return _mean(labels[dropped > 0.5])


def f1(labels: NDArray[np.bool_], dropped: NDArray[np.float64]) -> float:
    """Harmonic mean of precision and recall of what was dropped; 0 where something is unsafe and nothing was dropped."""
    hits = float((labels & (dropped > 0.5)).sum())
    return 2 * hits / (labels.sum() + (dropped > 0.5).sum()) if labels.any() else float("nan")


def recall_at_one_percent(labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Share of the unsafe rows above the lowest threshold that at most one safe row in a hundred exceeds. Of fewer than a hundred
    safe rows none may.
    """
    safe = np.sort(scores[~labels])[::-1]
    return _mean(scores[labels] > safe[len(safe) // 100]) if len(safe) else float("nan")


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else float("nan")


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
    value = measure(labels, scores) if len(labels) else np.nan
    return value if np.isfinite(value) else None
