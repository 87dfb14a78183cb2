"""Does a passage that was found bear on what was asked at all, or only share words with it?

A logistic regression over eight figures of a hit among its fellows, none of which grows with the index; `relevance.json` holds its
weights, benchmarks/relevance.py trains and judges it. Knows words and scores, not meanings.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from retrieval.bm25 import Hit
from retrieval.support import Weight, coverage
from retrieval.tokens import ENGLISH, tokenise

FEATURES = (
    "coverage",
    "title asked for",
    "question in title",
    "score",
    "score among hits",
    "length",
    "rarest word",
    "words shared",
)


def relevance(
    question: str, hits: Sequence[Hit], weight: Weight, leaning: bool = False, language: str = ENGLISH
) -> list[float]:
    """For each hit, best first as a search returned them, the probability in [0, 1] that it bears on the question.

    `weight` gives a term's idf. `leaning`: the question was looked for with the words of earlier turns, which count half.
    """
    return [
        1 / (1 + math.exp(-_BIAS - sum(w * x for w, x in zip(_WEIGHTS, row, strict=True))))
        for row in features(question, hits, weight, leaning, language)
    ]


def features(
    question: str, hits: Sequence[Hit], weight: Weight, leaning: bool = False, language: str = ENGLISH
) -> list[list[float]]:
    """The figures of each hit, in the order of `FEATURES`; each in [0, 2] or little more."""
    asked = set(tokenise(question, language))
    whole = sum(map(weight, asked)) or 1.0
    rarest = max(map(weight, asked), default=0.0) or 1.0
    best = max((hit.score for hit in hits), default=0.0) or 1.0
    double = 2.0 if leaning else 1.0
    rows = []
    for hit in hits:
        title = set(tokenise(hit.passage.title, language))
        shared = asked & (title | set(tokenise(hit.passage.text, language)))
        named = sum(map(weight, title & asked))
        rows.append(
            [
                min(1.0, double * coverage(question, hit.passage.title, hit.passage.text, weight)),
                named / (sum(map(weight, title)) or 1.0),
                named / whole,
                min(2.0, hit.score / whole / double),
                hit.score / best,
                len(asked) / 10,
                max(map(weight, shared), default=0.0) / rarest,
                len(shared) / 5,
            ]
        )
    return rows


_FITTED = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
_BIAS: float = _FITTED["bias"]
_WEIGHTS: tuple[float, ...] = tuple(_FITTED["weights"][name] for name in FEATURES)
