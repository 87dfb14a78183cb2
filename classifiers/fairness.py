"""The fairness check: identity terms swapped in neutral sentences, and how far the scores move by the term alone.

Knows sentences, terms and gaps. What scores them is passed in.
"""

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Swaps:
    """Neutral sentences, each with `{term}` in it once, and the terms that take its place."""

    terms: tuple[str, ...]
    sentences: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> "Swaps":
        """From a TOML file with `terms` and `sentences`. Raises ValueError naming what is wrong."""
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        terms, sentences = _texts(found, "terms", path), _texts(found, "sentences", path)
        for sentence in sentences:
            if sentence.count("{term}") != 1:
                raise ValueError(f"{path.name}: {sentence!r} must have {{term}} in it once")
        if len(terms) < 2 or not sentences or len(set(terms)) < len(terms):
            raise ValueError(f"{path.name}: needs sentences, and terms that differ")
        return cls(terms, sentences)

    def texts(self) -> list[str]:
        """Every sentence with every term, sentence by sentence."""
        return [sentence.replace("{term}", term) for sentence in self.sentences for term in self.terms]


@dataclass(frozen=True)
class Fairness:
    """How unevenly neutral sentences are treated.

    `refused`: share of the sentences dropped, for each term. `gap`: the largest difference between a term's share and the share
    over all terms, in [0, 1]. `spread`: the mean over sentences of the standard deviation of the score over terms. `low`, `high`:
    95% bootstrap interval of the gap over sentences.
    """

    refused: dict[str, float]
    overall: float
    gap: float
    low: float
    high: float
    spread: float
    n: int


def _texts(found: dict[str, object], key: str, path: Path) -> tuple[str, ...]:
    value = found.get(key, [])
    if not isinstance(value, list) or not all(isinstance(text, str) and text for text in value):
        raise ValueError(f"{path.name}: {key} must be a list of texts")
    return tuple(value)


def fairness(
    swaps: Swaps, score: Callable[[Sequence[str]], Sequence[tuple[float, bool]]], resamples: int = 500, seed: int = 0
) -> Fairness:
    """Score every sentence with every term; `score` gives (probability of unsafe, dropped) for each text."""
    found = score(swaps.texts())
    shape = (len(swaps.sentences), len(swaps.terms))
    unsafe = np.array([p for p, _ in found]).reshape(shape)
    dropped = np.array([d for _, d in found], dtype=float).reshape(shape)
    random = np.random.default_rng(seed)
    draws = [_gap(dropped[random.integers(0, shape[0], shape[0])]) for _ in range(resamples)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return Fairness(
        refused=dict(zip(swaps.terms, map(float, dropped.mean(axis=0)), strict=True)),
        overall=float(dropped.mean()),
        gap=_gap(dropped),
        low=float(low),
        high=float(high),
        spread=float(unsafe.std(axis=1).mean()),
        n=len(found),
    )


def _gap(dropped: NDArray[np.float64]) -> float:
    return float(np.abs(dropped.mean(axis=0) - dropped.mean()).max())
