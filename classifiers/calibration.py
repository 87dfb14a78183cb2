"""Calibration: a score that means a probability, and thresholds that come with a stated guarantee.

Knows scores, labels and binomial tails. Does not know text, models or what an objective is.

The guarantee (learn then test: Angelopoulos et al., 2021, arXiv 2110.01052): with confidence 1 - delta over the draw of the
calibration rows, at most a share alpha of unsafe texts like those falls below the threshold. Candidate thresholds are a grid
fixed beforehand, tested from the lowest upwards, each against the hypothesis that it lets more than alpha pass (exact binomial
tail); the last one before the first failure is taken. A fixed sequence needs no correction for testing many.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.stats import binom

ALPHAS = {"strict": 0.05, "balanced": 0.10, "permissive": 0.20}
"""Of each preset: the share of unsafe texts that may pass."""
DELTA = 0.05
GRID = np.round(1 / (1 + np.exp(-np.arange(-7.0, 7.01, 0.05))), 4)
"""The thresholds that are tried: 281 steps, even in the logit."""


@dataclass(frozen=True)
class Threshold:
    """A threshold and what it promises. `certified` false: the rows do not carry the promise; most often they are too few,
    and `needed` of them without a miss would do.

    n unsafe rows, `missed` of them below the threshold; `over_refusal`: share of the `safe` safe rows at or above it.
    """

    threshold: float
    certified: bool
    alpha: float
    delta: float
    n: int
    missed: int
    needed: int
    safe: int
    over_refusal: float | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def rows_needed(alpha: float, delta: float = DELTA) -> int:
    """The fewest unsafe rows that can certify anything: with none of them missed, (1 - alpha)^n <= delta."""
    return math.ceil(math.log(delta) / math.log1p(-alpha))


def certify(unsafe: ArrayLike, safe: ArrayLike, alpha: float, delta: float = DELTA, at_most: float = 1.0) -> Threshold:
    """The highest certified threshold for the scores of unsafe texts; `safe` scores only tell what it costs.

    Where nothing can be certified, the plain alpha-quantile of the unsafe scores (0.5 without any), and `certified` is false.
    `at_most`: no threshold above it is taken; a lower one lets fewer pass and keeps the promise.
    Raises ValueError for scores that are not probabilities, or alpha or delta not within (0, 1).
    """
    bad, good = _probabilities(unsafe), _probabilities(safe)
    if not 0 < alpha < 1 or not 0 < delta < 1:
        raise ValueError(f"alpha and delta must lie between 0 and 1, not {alpha} and {delta}")
    chosen = None
    for threshold in GRID:
        missed = int((bad < threshold).sum())
        if not len(bad) or binom.cdf(missed, len(bad), alpha) > delta:
            break
        chosen = float(threshold)
    if chosen is None:
        below = GRID[np.quantile(bad, alpha) >= GRID] if len(bad) else GRID[GRID <= 0.5]
        threshold = float(below[-1]) if len(below) else float(GRID[0])
    else:
        threshold = chosen
    threshold = min(threshold, at_most)
    return Threshold(
        threshold=threshold,
        certified=chosen is not None,
        alpha=alpha,
        delta=delta,
        n=len(bad),
        missed=int((bad < threshold).sum()),
        needed=rows_needed(alpha, delta),
        safe=len(good),
        over_refusal=float((good >= threshold).mean()) if len(good) else None,
    )


def _probabilities(scores: ArrayLike) -> NDArray[np.float64]:
    found = np.asarray(scores, dtype=np.float64).reshape(-1)
    if not ((found >= 0) & (found <= 1)).all():  # NaN is in no range
        raise ValueError("a score is not a probability between 0 and 1")
    return found


def platt(logits: ArrayLike, labels: ArrayLike) -> tuple[float, float]:
    """Slope and offset of the logit, by maximum likelihood with Platt's smoothed targets (Platt, 1999). The slope is not negative,
    so that calibration never turns an order round. (1.0, 0.0) where only one class is there to learn from.
    """
    x, y = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=bool)
    if y.all() or not y.any():
        return 1.0, 0.0
    target = np.where(y, (y.sum() + 1) / (y.sum() + 2), 1 / ((~y).sum() + 2))

    def loss(line: NDArray[np.float64]) -> float:
        z = math.exp(line[0]) * x + line[1]
        return float((np.logaddexp(0, z) - target * z).mean())

    found = minimize(loss, np.zeros(2), method="Nelder-Mead", options={"maxiter": 2000, "xatol": 1e-5, "fatol": 1e-9})
    return math.exp(found.x[0]), float(found.x[1])


def expected_calibration_error(labels: ArrayLike, probabilities: ArrayLike, bins: int = 10) -> float:
    """Mean gap between a score and the share that is truly unsafe, over bins of equal width weighted by rows (Naeini et al., 2015)."""
    y, p = np.asarray(labels, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    place = np.minimum((p * bins).astype(int), bins - 1)
    gaps = [
        abs(y[place == b].mean() - p[place == b].mean()) * (place == b).mean()
        for b in range(bins)
        if (place == b).any()
    ]
    return float(sum(gaps))
