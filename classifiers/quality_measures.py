"""What a ranker is held to: the true next turn among others, the order of people's ratings, specific replies above generic ones.

Knows scores and labels. Does not know who scores.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr

from classifiers.labelled import Turn
from classifiers.metrics import estimate
from classifiers.quality_rules import random_turns
from classifiers.quality_sets import NextTurn, RatedReply
from classifiers.upstream import digest

AMONG = 16

Figure = dict[str, float | int | None]
"""A value with its 95% bootstrap interval, "low" and "high", and "n"."""


@dataclass(frozen=True)
class Choice:
    """A context with its true next turn first, and those of other conversations."""

    context: tuple[Turn, ...]
    replies: tuple[str, ...]
    group: str
    source: str


def choices(turns: Sequence[NextTurn], split: str, a_source: int, among: int = AMONG) -> list[Choice]:
    """Contexts of this split, at most so many of each source, each with its next turn and as many others as make `among`."""
    found: list[Choice] = []
    for source in sorted({turn.source for turn in turns}):
        here = sorted((t for t in turns if t.source == source and t.split == split), key=lambda t: digest(t.id))
        for turn in here[:a_source]:
            others = random_turns(turn, here, among - 1)
            if len(others) == among - 1:
                found.append(Choice(turn.context, (turn.reply, *others), turn.group, source))
    return found


def standing(scores: Sequence[float]) -> tuple[float, float]:
    """(1 if the first of the scores is the highest, 1 / its rank); of equal scores each order is as likely.

    Raises ValueError for no score.
    """
    if not len(scores):
        raise ValueError("there is nothing to choose among")
    better = sum(score > scores[0] for score in scores[1:])
    equal = sum(score == scores[0] for score in scores[1:])
    ranks = np.arange(better + 1, better + equal + 2)
    return (1 / (equal + 1) if not better else 0.0), float(np.mean(1 / ranks))


def by_chance(among: int) -> tuple[float, float]:
    """What a random choice comes to, (hit at 1, mean reciprocal rank)."""
    return standing([0.0] * among)


def spearman(one: ArrayLike, other: ArrayLike) -> float:
    """Spearman's rank correlation, in [-1, 1]; NaN where either does not vary."""
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if len(a) < 2 or (a == a[0]).all() or (b == b[0]).all():
        return float("nan")
    return float(spearmanr(a, b).statistic)


def in_order(rows: Sequence[RatedReply], scores: Sequence[float]) -> list[tuple[str, float]]:
    """For each pair of a generic (sensible, not specific) and a specific reply to one context the context's group, and 1 where the
    specific one scores higher, .5 where they are equal, else 0.
    """
    found = []
    for generic, low in zip(rows, scores, strict=True):
        for specific, high in zip(rows, scores, strict=True):
            of_one = generic.group == specific.group
            if of_one and generic.answers[:2] == (True, False) and specific.answers[1]:
                found.append((generic.group, 1.0 if high > low else 0.5 if high == low else 0.0))
    return found


def mean_figure(values: Sequence[float], groups: Sequence[str]) -> Figure:
    """The mean; groups are drawn together."""
    kept = np.asarray(values, dtype=np.float64)
    return _figure(lambda rows: float(kept[rows].mean()), len(kept), groups)


def spearman_figure(one: ArrayLike, other: ArrayLike, groups: Sequence[str]) -> Figure:
    """Spearman's rank correlation; groups are drawn together."""
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    return _figure(lambda rows: spearman(a[rows], b[rows]), len(a), groups)


def _figure(value: Callable[[NDArray[np.int64]], float], n: int, groups: Sequence[str]) -> Figure:
    def over(_: Any, rows: NDArray[np.float64]) -> float:
        return value(rows.astype(np.int64))

    found = estimate(over, np.zeros(n, dtype=bool), np.arange(n), groups).as_dict()
    return {name: found[name] for name in ("value", "low", "high", "n")}
