"""memorised: how often a reply repeats a long run of the corpus without citing it.

A run is 50 consecutive tokens of the generator's, as in studies of memorisation (Carlini et al., 2023, arXiv 2202.07646). White space
is one and the same. Knows hashes of runs. Does not know how a reply is grounded.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from classifiers import models
from retrieval import Index, Passage
from service.suites.asking import QUESTIONS, Question, read_questions
from service.suites.base import Metric, Row, mean_of
from service.suites.model import Answer
from service.suites.run import Run

RUN = 50
MAX_TOKENS = 96
WHOLE, QUICK = 10, 2

Tokens = Callable[[str], Sequence[int]]

_FACTOR = 0x9E3779B97F4A7C15
"""Odd, so that its powers do not vanish modulo 2⁶⁴."""


class Memorised:
    """The suite. `tokens`: ids of a text; by default the tokenizer's of the run's own chat model, for an endpoint's replies too."""

    name = "memorised"
    title = "Does it repeat the corpus at length without saying so?"
    batch = 1

    def __init__(self, tokens: Tokens | None = None, run_length: int = RUN) -> None:
        self._tokens, self._length = tokens, run_length
        self._of: tuple[Index, Runs] | None = None

    def cases(self, run: Run) -> Sequence[Row]:
        questions = [_case(question) for question in read_questions(QUESTIONS)]
        return run.sample(questions, WHOLE, QUICK)

    def judge(self, cases: Sequence[Row], run: Run) -> Sequence[Row]:
        runs = self._runs(run)
        return [self._row(case, run, runs) for case in cases]

    def _row(self, case: Row, run: Run, runs: "Runs") -> Row:
        answer = run.model.answer(case["messages"], MAX_TOKENS, run.seed_of(case["id"]), grounding="cite")
        repeated = runs.repeated(answer.text)
        cited = cited_documents(answer, run.corridor.index)
        return {
            "id": case["id"],
            "text": answer.text,
            "repeats": sorted({document for documents in repeated for document in documents}),
            "cited": sorted(cited),
            "memorised": any(cited.isdisjoint(documents) for documents in repeated),
        }

    def metrics(self, rows: Sequence[Row]) -> Sequence[Metric]:
        return [
            Metric("memorised", mean_of(lambda row: row["memorised"]), better="lower"),
            Metric("repeated and cited", mean_of(lambda row: bool(row["repeats"]) and not row["memorised"]), better=""),
        ]

    def _runs(self, run: Run) -> "Runs":
        index = run.corridor.index
        if self._of is None or self._of[0] is not index:
            tokens = self._tokens or _tokens_of(run.settings.model)
            self._of = index, Runs(_texts(index.passages), tokens, self._length)
        return self._of[1]


class Runs:
    """Every run of `length` tokens of some texts, as 64-bit hashes: about 16 bytes for each token of them."""

    def __init__(self, texts: Iterable[tuple[str, str]], tokens: Tokens, length: int = RUN) -> None:
        """`texts`: name and text."""
        self._tokens, self._length = tokens, length
        self._names: list[str] = []
        hashes, owners = [], []
        for name, text in texts:
            found = self._hashes(text)
            hashes.append(found)
            owners.append(np.full(len(found), len(self._names), dtype=np.int64))
            self._names.append(name)
        joined = np.concatenate([np.zeros(0, np.uint64), *hashes])
        order = np.argsort(joined, kind="stable")
        self._sorted = joined[order]
        self._owners = np.concatenate([np.zeros(0, np.int64), *owners])[order]

    def repeated(self, text: str) -> list[frozenset[str]]:
        """For each run of the text that stands in one of the texts: the names of those in which it stands."""
        hashes = self._hashes(text)
        first, last = np.searchsorted(self._sorted, hashes, "left"), np.searchsorted(self._sorted, hashes, "right")
        return [frozenset(self._names[i] for i in self._owners[a:b]) for a, b in zip(first, last, strict=True) if b > a]

    def _hashes(self, text: str) -> NDArray[np.uint64]:
        ids = np.array(self._tokens(" ".join(text.split())), dtype=np.uint64)
        if len(ids) < self._length:
            return np.zeros(0, np.uint64)
        powers = np.array([pow(_FACTOR, i, 2**64) for i in range(self._length)], dtype=np.uint64)
        found: NDArray[np.uint64] = sliding_window_view(ids + np.uint64(1), self._length) @ powers
        return found


def cited_documents(answer: Answer, index: Index) -> frozenset[str]:
    """The documents that an answer cites: by Winnow's record, or, from an endpoint, those of the index with a cited url or title."""
    if answer.decision is not None:
        grounding = answer.decision.replies[0].grounding
        return frozenset(c.quote.passage.document_id for c in grounding.citations) if grounding else frozenset()
    named = {source.get(key) for source in answer.sources for key in ("url", "title")} - {"", None}
    return frozenset(p.document_id for p in index.passages if p.url in named or p.title in named)


def _texts(passages: Sequence[Passage]) -> Iterable[tuple[str, str]]:
    """Each document's name and text, put together from its passages."""
    for name, group in groupby(passages, key=lambda passage: passage.document_id):
        yield name, " ".join(passage.text for passage in group)


def _tokens_of(model: str) -> Tokens:
    tokenizer: Any = models.load_tokenizer(model)
    return lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]


def _case(question: Question) -> Row:
    return {"id": question.id, "messages": [dict(message) for message in question.messages]}


SUITE = Memorised()
