"""What a suite of the offline evaluation is: cases, a row for each as it is judged, and metrics over rows with intervals.

Knows rows and resampling. Does not know what is measured, how rows are kept (`rows.py`) or shown (`report.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from service.suites.run import Run

Row = dict[str, Any]
"""One judged case, JSON throughout. "id": text, no two alike in a suite; the same case has the same id in every run."""

RESAMPLES = 500
LEAST_DRAWS = 20
"""Resamples on which a metric must be defined for its interval to be given."""

AGAINST, MOST_DRAWS = 10, 10_000
"""A comparison draws on until so many resamples speak against the difference, at most so often: a p that is to outlive a correction
for many metrics must be able to be small (Besag and Clifford, 1991)."""


def _by_id(row: Row) -> str:
    return str(row["id"])


@dataclass(frozen=True)
class Metric:
    """A figure over rows. `of` gives None (or NaN) where it is not defined: no positives, one class only, no claims.

    `rows`: which rows it rests on; `positive`: which of them make up the prevalence; `group`: rows that are drawn together
    because they are not independent (a pair, a context). `unit`: "share" (shown as a percentage), "points" (a difference of shares:
    0.09 is shown as +9.0), "area" (AUROC and the like), "score", "count", "seconds", "tokens/s", "MiB". `better`: "higher", "lower"
    or "" for neither. `beside`: the name of the metric that this one is the baseline of. `target`: as text, e.g. "≥ .92".
    `read`: the numbers that `of` needs of a row, None for one that is missing; then `of` is given them, an array (rows, numbers)
    with NaN for None, in place of the rows, which makes thousands of resamples of thousands of rows cheap.
    """

    name: str
    of: Callable[[Any], float | None]
    rows: Callable[[Row], bool] = lambda row: True
    positive: Callable[[Row], bool] | None = None
    group: Callable[[Row], str] = _by_id
    unit: str = "share"
    better: str = "higher"
    beside: str = ""
    target: str = ""
    read: Callable[[Row], Sequence[float | None]] | None = None


@dataclass(frozen=True)
class Figure:
    """A metric's value on the rows of one run: with its 95% interval and standard error by bootstrap over groups, n, prevalence."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    error: float | None
    n: int
    prevalence: float | None
    unit: str
    better: str
    beside: str
    target: str


class Suite(Protocol):
    """A suite is an object with these. `name`: as it is called on the command line; `title`: what it asks, in a line; `batch`: how many
    cases `judge` is given at once, 1 unless judging them together is cheaper.
    """

    name: str
    title: str
    batch: int

    def cases(self, run: Run) -> Sequence[Row]:
        """All cases, each with an "id", in an order that depends on nothing but the data, the seed and `run.quick`. Raises
        `run.Unavailable` with the reason where the suite cannot be run here (a data set that was not named).
        """
        ...

    def judge(self, cases: Sequence[Row], run: Run) -> Sequence[Row]:
        """A row for each case, in order, with its id: everything that the metrics and the report need. Draws nothing but from
        `run.seed_of(case)`.
        """
        ...

    def metrics(self, rows: Sequence[Row]) -> Sequence[Metric]:
        """The metrics, which may depend on the rows (one for each source that occurs)."""
        ...


def measured(metric: Metric, rows: Sequence[Row], seed: int = 0) -> Figure:
    """The metric with a percentile bootstrap interval and the standard error over whole groups (Efron and Tibshirani, 1993)."""
    kept = [row for row in rows if metric.rows(row)]
    read = _read(metric, kept)
    value = _finite(metric.of(read)) if kept else None
    low = high = error = None
    if value is not None:
        groups = _Groups(metric, kept)
        random = np.random.default_rng(seed)
        drawn = [_finite(metric.of(_at(read, groups.draw(random)))) for _ in range(RESAMPLES)]
        found = [each for each in drawn if each is not None]
        if len(groups) > 1 and len(found) >= LEAST_DRAWS:
            low, high = (float(each) for each in np.quantile(found, [0.025, 0.975]))
            error = float(np.std(found, ddof=1))
    prevalence = float(np.mean([metric.positive(row) for row in kept])) if kept and metric.positive else None
    return Figure(
        metric.name,
        value,
        low,
        high,
        error,
        len(kept),
        prevalence,
        metric.unit,
        metric.better,
        metric.beside,
        metric.target,
    )


@dataclass(frozen=True)
class Difference:
    """A metric in two runs on the rows that both judged. `p`: two-sided, by paired bootstrap; None where it is not defined.

    `n`: rows that both have; `only_first`, `only_second`: rows that one alone has, which are left out.
    """

    name: str
    first: float | None
    second: float | None
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    n: int
    only_first: int
    only_second: int
    better: str
    unit: str


def compared(metric: Metric, first: Sequence[Row], second: Sequence[Row], seed: int = 0) -> Difference:
    """The metric in the second run less that in the first, over rows of the same id, groups drawn alike in both (paired bootstrap:
    Koehn, 2004). p is twice the share of resamples in which the difference is zero or has the other sign, with one added to both
    counts; resamples beyond the first 500 serve p alone.
    """
    a, b = ({_by_id(row): row for row in rows if metric.rows(row)} for rows in (first, second))
    ids = [id for id in a if id in b]
    pairs = [(a[id], b[id]) for id in ids]
    sides = [_read(metric, [pair[side] for pair in pairs]) for side in (0, 1)]
    left, right = (_finite(metric.of(side)) if pairs else None for side in sides)
    low = high = p = difference = None
    if pairs and left is not None and right is not None:
        difference = right - left
        groups, random = _Groups(metric, [pair[0] for pair in pairs]), np.random.default_rng(seed)
        found: list[float] = []

        def draw(times: int) -> None:
            for _ in range(times):
                places = groups.draw(random)
                one, other = (_finite(metric.of(_at(side, places))) for side in sides)
                if one is not None and other is not None:
                    found.append(other - one)

        def against() -> int:
            return min(sum(each <= 0 for each in found), sum(each >= 0 for each in found))

        draw(RESAMPLES)
        if len(groups) > 1 and len(found) >= LEAST_DRAWS:
            low, high = (float(each) for each in np.quantile(found, [0.025, 0.975]))
            drawn = RESAMPLES
            while against() < AGAINST and drawn < MOST_DRAWS:
                draw(RESAMPLES)
                drawn += RESAMPLES
            p = min(1.0, 2 * (against() + 1) / (len(found) + 1))
    return Difference(
        metric.name,
        left,
        right,
        difference,
        low,
        high,
        p,
        len(ids),
        len(a) - len(ids),
        len(b) - len(ids),
        metric.better,
        metric.unit,
    )


def mean_of(value: Callable[[Row], float | bool | None]) -> Callable[[Sequence[Row]], float | None]:
    """The mean of a row's value over the rows that have one; None where none has."""

    def mean(rows: Sequence[Row]) -> float | None:
        found = [float(each) for row in rows if (each := value(row)) is not None]
        return float(np.mean(found)) if found else None

    return mean


def _read(metric: Metric, rows: Sequence[Row]) -> Sequence[Row] | NDArray[np.float64]:
    return np.array([metric.read(row) for row in rows], dtype=np.float64) if metric.read else rows


def _at(read: Sequence[Row] | NDArray[np.float64], places: NDArray[np.intp]) -> Sequence[Row] | NDArray[np.float64]:
    return read[places] if isinstance(read, np.ndarray) else [read[i] for i in places]


class _Groups:
    """The places of rows that belong together, groups in the order in which they first occur."""

    def __init__(self, metric: Metric, rows: Sequence[Row]) -> None:
        known: dict[str, int] = {}
        which = np.array([known.setdefault(metric.group(row), len(known)) for row in rows], dtype=np.intp)
        self._places = np.argsort(which, kind="stable")
        self._sizes = np.bincount(which)
        self._starts = np.cumsum(self._sizes) - self._sizes

    def __len__(self) -> int:
        return len(self._sizes)

    def draw(self, random: np.random.Generator) -> NDArray[np.intp]:
        """Places of the rows of as many groups as there are, drawn with replacement."""
        drawn = random.integers(0, len(self), len(self))
        sizes = self._sizes[drawn]
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        found: NDArray[np.intp] = self._places[np.repeat(self._starts[drawn], sizes) + within]
        return found


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None
