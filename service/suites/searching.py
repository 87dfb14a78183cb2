"""Searching a test collection by BM25, with our settings and plainly, and what the rankings are worth by ir-measures.

Knows terms, scores and rankings. Does not know where questions come from (`questions.py`) or what a suite shows (`retrieve.py`).
ir-measures is not among the core dependencies, so it is imported where it is used: `pip install 'winnow[eval]'`.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from bm25s.stopwords import STOPWORDS_EN
from scipy import sparse

from retrieval.bm25 import K1, B
from retrieval.index import TITLE_WEIGHT
from retrieval.queries import query_of
from retrieval.tokens import tokenise
from service.suites.questions import Collection

MEASURES = ("nDCG@10", "recall@10", "recall@100", "MRR")
PLAIN_K1, PLAIN_B = 0.9, 0.4
DEPTH = 100
Floats = np.ndarray[Any, np.dtype[np.float64]]


def plain_terms(text: str) -> list[str]:
    """The terms of plain BM25: what bm25s's own tokeniser gives by default."""
    return [word for word in re.findall(r"\b\w\w+\b", text.lower()) if word not in STOPWORDS_EN]


class Matrix:
    """BM25 over a collection for any k1, b and title weight, from term counts that are taken once."""

    def __init__(self, collection: Collection, terms: Callable[[str], list[str]]) -> None:
        self.documents = [id for id, _, _ in collection.texts]
        self._terms = terms
        self._vocabulary: dict[str, int] = {}
        counted = [self._counts([text[part] for text in collection.texts], True) for part in (1, 2)]
        shape = len(collection.texts), len(self._vocabulary)
        self._titles, self._bodies = (sparse.csr_matrix(entries, shape=shape) for entries in counted)
        holding = np.asarray(((self._titles + self._bodies) > 0).sum(axis=0)).ravel()
        self._idf = np.log(1 + (shape[0] - holding + 0.5) / (holding + 0.5))

    def scores(self, queries: Sequence[str], k1: float, b: float, title_weight: float) -> Iterator[Floats]:
        """BM25 as in `retrieval/bm25.py`, shape (texts,), for each query; a title counts as `title_weight` times its words."""
        counts = sparse.csr_matrix(self._bodies + title_weight * self._titles)
        lengths = np.asarray(counts.sum(axis=1)).ravel()
        penalties = k1 * (1 - b + b * lengths / lengths.mean())
        rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
        counts.data = self._idf[counts.indices] * counts.data * (k1 + 1) / (counts.data + penalties[rows])
        weights = counts.T.tocsr()
        asked = sparse.csr_matrix(self._counts(queries, False), shape=(len(queries), len(self._vocabulary)))
        for number in range(len(queries)):
            yield (asked[number] @ weights).toarray().ravel()

    def ranking(self, scores: Floats) -> dict[str, float]:
        """The best DEPTH documents with scores that only tell their order, so that ties stay as they are; the best text of a
        document stands for it.
        """
        best = (self.documents[n] for n in np.argsort(-scores, kind="stable") if scores[n] > 0)
        found = dict.fromkeys(best)
        return {document: -float(rank) for rank, document in enumerate(list(found)[:DEPTH])}

    def _counts(self, texts: Sequence[str], grow: bool) -> tuple[list[float], tuple[list[int], list[int]]]:
        values: list[float] = []
        rows: list[int] = []
        columns: list[int] = []
        for row, text in enumerate(texts):
            for term, count in Counter(self._terms(text)).items():
                column = (
                    self._vocabulary.setdefault(term, len(self._vocabulary)) if grow else self._vocabulary.get(term)
                )
                if column is not None:
                    values.append(float(count))
                    rows.append(row)
                    columns.append(column)
        return values, (rows, columns)


def measure(collection: Collection, rankings: Mapping[str, Mapping[str, float]]) -> dict[str, Floats]:
    """Each measure for every question in the collection's order, shape (questions,); 0 where nothing was found.

    Raises ImportError without ir-measures.
    """
    import ir_measures
    from ir_measures import RR, R, nDCG

    sought = dict(zip(MEASURES, (nDCG @ 10, R @ 10, R @ 100, RR), strict=True))
    relevant = {question.id: dict.fromkeys(question.relevant, 1) for question in collection.questions}
    place = {question.id: number for number, question in enumerate(collection.questions)}
    values = {name: np.zeros(len(place)) for name in MEASURES}
    names = {str(each): name for name, each in sought.items()}
    for metric in ir_measures.iter_calc(list(sought.values()), relevant, rankings):
        values[names[str(metric.measure)]][place[metric.query_id]] = metric.value
    return values


@dataclass(frozen=True)
class Compared:
    """One collection measured twice."""

    collection: Collection
    plain: Mapping[str, Floats]
    ours: Mapping[str, Floats]


def compare(collection: Collection, k1: float = K1, b: float = B, title_weight: float = TITLE_WEIGHT) -> Compared:
    """Plain BM25 on the question alone, and the chosen settings on the question in its dialog."""
    questions = collection.questions
    plain, ours = Matrix(collection, plain_terms), Matrix(collection, tokenise)
    alone = plain.scores([question.text for question in questions], PLAIN_K1, PLAIN_B, 1)
    whole = ours.scores([query_of(q.text, q.earlier) for q in questions], k1, b, title_weight)
    return Compared(
        collection,
        measure(collection, {q.id: plain.ranking(scores) for q, scores in zip(questions, alone, strict=True)}),
        measure(collection, {q.id: ours.ranking(scores) for q, scores in zip(questions, whole, strict=True)}),
    )
