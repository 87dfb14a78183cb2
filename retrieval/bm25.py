"""BM25 over numbered terms: the formula's constants, and two engines that give the same ranking.

Knows postings, scores and the best rows. Does not know words, texts, files or how an index is kept on disk.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from bm25s import BM25
from rank_bm25 import BM25Okapi

from retrieval.corpus import Passage

# Tuned with the title's weight on half of the queries of five collections (benchmarks/retrieval_quality.py --grid).
K1, B = 1.2, 0.75

SMALL = 20_000
"""Passages up to which "auto" means rank-bm25: it holds everything in memory and counts anew at each start."""

Array = np.ndarray[Any, np.dtype[Any]]
Advance = Callable[[int], None]

_CHUNK = 4_000_000
_BLOCK = 1024


@dataclass(frozen=True)
class Hit:
    """A passage and its BM25 score (above 0; no upper limit; comparable within one query only)."""

    passage: Passage
    score: float


class Retriever(Protocol):
    """What any index offers: the same query gives the same hits."""

    def search(self, query: str, k: int = 5) -> list[Hit]:
        """At most k hits, best first, only scores above 0, equal scores in passage order."""
        ...


@dataclass(frozen=True)
class Tokens:
    """The terms of every passage, as numbers.

    `terms`: int32, shape (tokens,), one passage after another, repeats included; `lengths`: int32, shape (passages,), how many of
    them are each passage's; `holding`: int64, shape (vocabulary,), in how many passages each term stands. May be memory-mapped.
    """

    terms: Array
    lengths: Array
    holding: Array

    def __len__(self) -> int:
        """The number of passages."""
        return len(self.lengths)

    def rows(self) -> Iterator[list[int]]:
        """Each passage's terms."""
        at = 0
        for length in self.lengths.tolist():
            yield self.terms[at : at + length].tolist()
            at += length


class Engine(Protocol):
    """Numbered terms of a query in, the best rows out. Safe to ask from several threads."""

    name: str

    def top(self, terms: Sequence[int], k: int) -> list[tuple[int, float]]:
        """At most k (row, score), best first, only scores above 0, equal scores in row order. A repeated term counts each time."""
        ...


def inverse_frequency(passages: int, holding: int) -> float:
    """log(1 + (N - n + .5) / (n + .5)): above 0 for every 0 <= n <= N.

    Lucene's form (Robertson and Zaragoza 2009, eq. 3.3, with 1 added inside the logarithm). rank-bm25's is 0 for a term in half
    of the passages (its issue 43), so tiny corpora find nothing.
    """
    return math.log(1 + (passages - holding + 0.5) / (holding + 0.5))


def engine_name(asked: str, passages: int) -> str:
    """ "rank-bm25" or "bm25s": what is asked for, by size when that is "auto". Raises ValueError for another name."""
    if asked == "auto":
        return RankEngine.name if passages <= SMALL else EagerEngine.name
    if asked not in (RankEngine.name, EagerEngine.name):
        raise ValueError(f"unknown engine {asked!r}: expected auto, {RankEngine.name} or {EagerEngine.name}")
    return asked


class Okapi(BM25Okapi):
    """rank-bm25's Okapi with an idf that stays positive, and postings instead of a look at every passage."""

    def __init__(self, corpus: Sequence[Sequence[Any]]) -> None:
        super().__init__(corpus, k1=K1, b=B)
        lengths = np.array(self.doc_len, dtype=np.float64)
        self._length_penalty = self.k1 * (1 - self.b + self.b * lengths / (self.avgdl or 1.0))
        # All postings in one piece, sorted by term; a Python list for each term takes three times as long.
        numbers = {term: number for number, term in enumerate(self.idf)}
        terms = np.array([numbers[term] for frequencies in self.doc_freqs for term in frequencies], dtype=np.int64)
        order = np.argsort(terms)
        rows = np.repeat(np.arange(self.corpus_size), [len(frequencies) for frequencies in self.doc_freqs])[order]
        counts = np.array([count for frequencies in self.doc_freqs for count in frequencies.values()], np.float64)[
            order
        ]
        bounds = pairwise([0, *np.cumsum(np.bincount(terms, minlength=len(numbers))).tolist()])
        self._postings = {term: (rows[a:b], counts[a:b]) for term, (a, b) in zip(numbers, bounds, strict=True)}

    def _calc_idf(self, nd: dict[Any, int]) -> None:
        self.idf = {term: inverse_frequency(self.corpus_size, count) for term, count in nd.items()}

    def get_scores(self, query: Sequence[Any]) -> Array:
        """BM25 of every passage, float64, shape (passages,); a repeated term counts each time, as in rank-bm25."""
        scores = np.zeros(self.corpus_size)
        for term in query:
            if term in self._postings:
                numbers, counts = self._postings[term]
                scores[numbers] += self.idf[term] * counts * (self.k1 + 1) / (counts + self._length_penalty[numbers])
        return scores


class RankEngine:
    """rank-bm25: counted in memory at each start."""

    name = "rank-bm25"

    def __init__(self, tokens: Tokens) -> None:
        self._okapi = Okapi(list(tokens.rows())) if len(tokens) else None  # rank-bm25 divides by the number of passages

    def top(self, terms: Sequence[int], k: int) -> list[tuple[int, float]]:
        return best(self._okapi.get_scores(terms), k) if self._okapi is not None else []


class EagerEngine:
    """bm25s: the score of every term in every passage, counted once and memory-mapped after that.

    In the layout of bm25s's own `save`, with its "atire" form, which has the factor k1 + 1 that rank-bm25 has too.
    """

    name = "bm25s"

    def __init__(self, arrays: dict[str, Array], passages: int) -> None:
        self._scorer = BM25(K1, B, method="atire", idf_method="lucene", backend="numpy")
        self._scorer.nonoccurrence_array = None
        self._scorer.scores = {**arrays, "num_docs": passages}

    @classmethod
    def of(cls, tokens: Tokens) -> "EagerEngine":
        """Counted in memory."""
        return cls(_eager_arrays(tokens, lambda name, dtype, length: np.empty(length, dtype)), len(tokens))

    @staticmethod
    def write(tokens: Tokens, folder: Path, advance: Advance = lambda n: None) -> None:
        """Counts into mapped files of `folder`, a piece of the passages at a time; `advance` hears of every piece's passages.

        The memory needed does not grow with the number of passages. Raises OSError.
        """

        def mapped(name: str, dtype: Any, length: int) -> Array:
            file = _array_file(folder, name)
            if not length:  # an empty file cannot be mapped
                np.save(file, np.empty(0, dtype))
                return np.empty(0, dtype)
            return np.lib.format.open_memmap(file, "w+", dtype, (length,))

        for array in _eager_arrays(tokens, mapped, advance).values():
            if isinstance(array, np.memmap):
                array.flush()
        constants = {"k1": K1, "b": B, "delta": 0.5, "method": "atire", "idf_method": "lucene", "dtype": "float32"}
        params = {**constants, "int_dtype": "int32", "num_docs": len(tokens), "backend": "numpy"}
        (folder / "params.index.json").write_text(json.dumps(params, indent=1))

    @classmethod
    def load(cls, folder: Path, passages: int) -> "EagerEngine":
        """What `write` wrote, memory-mapped. Raises OSError, ValueError."""
        arrays = {}
        for name in ("data", "indices", "indptr"):
            file = _array_file(folder, name)
            array: Array = np.load(file, mmap_mode="r")
            arrays[name] = np.asarray(array)  # the bare view: slices of numpy's memmap class cost microseconds more
        return cls(arrays, passages)

    def top(self, terms: Sequence[int], k: int) -> list[tuple[int, float]]:
        return best(self._scorer.get_scores_from_ids(list(terms)), k) if terms else []


def _array_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.csc.index.npy"


def best(scores: Array, k: int) -> list[tuple[int, float]]:
    """At most k (row, score) of scores, shape (passages,): highest first, equal ones in row order, only those above 0."""
    least = 0.0
    if len(scores) > 4 * _BLOCK and k * _BLOCK <= len(scores):
        # The k-th best of the blocks' maxima is at most the k-th best score. numpy's own partition takes a hundred times
        # longer where most scores are equal, as zeros are here.
        whole = len(scores) // _BLOCK
        maxima = scores[: whole * _BLOCK].reshape(whole, _BLOCK).max(axis=1)
        least = float(np.partition(maxima, -k)[-k])
    rows = np.flatnonzero(scores >= least if least > 0 else scores > 0)
    found = scores[rows]
    if len(rows) > k:
        edge = np.partition(found, -k)[-k]
        above = np.flatnonzero(found > edge)
        kept = np.concatenate([above, np.flatnonzero(found == edge)[: k - len(above)]])
        rows, found = rows[kept], found[kept]
    order = np.lexsort((rows, -found))
    return [(int(rows[place]), float(found[place])) for place in order]


def _eager_arrays(
    tokens: Tokens, make: Callable[[str, Any, int], Array], advance: Advance = lambda n: None
) -> dict[str, Array]:
    """bm25s's columns: for each term its passages' rows in order (`indices`) and its score in them (`data`), from `indptr[term]`
    on.

    A counting sort in pieces: the place of a posting is known from the terms before it and the pieces before its own.
    """
    indptr = make("indptr", np.int64, len(tokens.holding) + 1)
    indptr[0] = 0
    np.cumsum(tokens.holding, out=indptr[1:])
    data, indices = make("data", np.float32, int(indptr[-1])), make("indices", np.int32, int(indptr[-1]))
    passages = len(tokens)
    lengths = np.asarray(tokens.lengths, dtype=np.float64)
    penalty = K1 * (1 - B + B * lengths / (lengths.mean() or 1.0)) if passages else lengths
    idf = np.array([inverse_frequency(passages, holding) for holding in tokens.holding.tolist()])
    following = np.array(indptr[:-1])
    ends = np.cumsum(tokens.lengths, dtype=np.int64)
    first = at = 0
    while first < passages:
        last = max(first + 1, int(np.searchsorted(ends, at + _CHUNK, side="right")))
        end = int(ends[last - 1])
        rows = np.repeat(np.arange(last - first, dtype=np.int64), tokens.lengths[first:last])
        keys, counts = np.unique(tokens.terms[at:end].astype(np.int64) * (last - first) + rows, return_counts=True)
        terms, rows = np.divmod(keys, last - first)
        rows += first
        held, starts, sizes = np.unique(terms, return_index=True, return_counts=True)
        places = following[terms] + np.arange(len(terms)) - np.repeat(starts, sizes)
        indices[places] = rows
        data[places] = idf[terms] * counts * (K1 + 1) / (counts + penalty[rows])
        following[held] += sizes
        advance(last - first)
        first, at = last, end
    return {"data": data, "indices": indices, "indptr": indptr}
