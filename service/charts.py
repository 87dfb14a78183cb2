"""Where the marks of a chart lie: curves, interval bars and latency bars as coordinates for inline SVG.

Knows geometry and the figures that a curve is made of. Does not know markup (`pages/report.html`) or which rows are shown
(`report.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve

SIDE = 210
"""Width and height of a curve's square, in pixels; coordinates run from 0 to this, downwards."""

BAR = 150
"""Width of an interval bar."""

BINS = 10


@dataclass(frozen=True)
class Dot:
    """A bin of a calibration chart: the mean score and the share that is unsafe, as places; `n` exchanges, `r` the radius."""

    x: float
    y: float
    r: float
    n: int
    score: float
    share: float


@dataclass(frozen=True)
class Curve:
    """`path`: SVG points of precision over recall; `chance`: where precision lies by chance; `dots`: the calibration chart."""

    name: str
    n: int
    positive: int
    average_precision: float
    path: str
    chance: float
    dots: tuple[Dot, ...]


def curve(name: str, labels: Sequence[bool], scores: Sequence[float]) -> Curve | None:
    """Precision over recall at every threshold and, in ten bins of the score, the share that is unsafe. None of one class only.

    `labels`: unsafe or not; `scores`: probabilities in [0, 1].
    """
    y, s = np.asarray(labels, dtype=bool), np.clip(np.asarray(scores, dtype=np.float64), 0, 1)
    if not y.any() or y.all():
        return None
    precision, recall, _ = precision_recall_curve(y, s)
    places = zip(np.round(SIDE * recall), np.round(SIDE * (1 - precision)), strict=True)
    # A pixel is drawn once, however many thresholds it stands for.
    path = " ".join(f"{x:.0f},{y:.0f}" for x, y in dict.fromkeys(places))
    return Curve(
        name,
        len(y),
        int(y.sum()),
        float(average_precision_score(y, s)),
        path,
        SIDE * (1 - float(y.mean())),
        _dots(y, s),
    )


def _dots(labels: np.ndarray, scores: np.ndarray) -> tuple[Dot, ...]:
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    found = []
    for each in range(BINS):
        here = bins == each
        if here.any():
            score, share, n = float(scores[here].mean()), float(labels[here].mean()), int(here.sum())
            radius = 2 + 5 * float(np.sqrt(n / len(scores)))
            found.append(Dot(SIDE * score, SIDE * (1 - share), radius, n, score, share))
    return tuple(found)


@dataclass(frozen=True)
class Bar:
    """An interval on the scale 0 to 1, as places from 0 to BAR; None for what there is none of."""

    value: float
    low: float | None
    high: float | None
    baseline: float | None
    target: float | None


def bar(
    value: float | None, low: float | None, high: float | None, baseline: float | None, target: float | None
) -> Bar | None:
    """None of a value that is not on the scale."""
    if value is None or not 0 <= value <= 1:
        return None

    def place(each: float | None) -> float | None:
        return None if each is None or not 0 <= each <= 1 else round(BAR * each, 1)

    return Bar(round(BAR * value, 1), place(low), place(high), place(baseline), place(target))


@dataclass(frozen=True)
class Latency:
    """Seconds of a phase at three percentiles of `n` replies, and their places on a scale that all phases share."""

    name: str
    n: int
    seconds: tuple[float, float, float]
    places: tuple[float, float, float]


PERCENTILES = (50, 95, 99)


def latencies(seconds: Mapping[str, Sequence[float]], width: float) -> list[Latency]:
    """Of each phase with at least one time, in order; the longest P99 is `width` wide."""
    found = {name: np.percentile(each, PERCENTILES) for name, each in seconds.items() if len(each)}
    most = max((each[-1] for each in found.values()), default=0.0) or 1.0
    return [
        Latency(name, len(seconds[name]), _three(each), _three(np.round(width * each / most, 1)))
        for name, each in found.items()
    ]


def _three(values: np.ndarray) -> tuple[float, float, float]:
    a, b, c = (float(each) for each in values)
    return a, b, c
