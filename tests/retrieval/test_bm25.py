"""The two engines: rank-bm25's scores with an idf that stays positive, the same ranking from both, ties in passage order."""

import gzip
import json
import math
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from bm25s import BM25
from hypothesis import example, given
from hypothesis import strategies as st
from rank_bm25 import BM25Okapi

from retrieval import Document, Index, bm25
from retrieval.bm25 import EagerEngine, Okapi, RankEngine, Tokens, best, engine_name, inverse_frequency
from retrieval.index import Numbering
from retrieval.tokens import tokenise

TERMS = st.lists(st.sampled_from("abcdef"), max_size=8)
NUMBERS = st.lists(st.integers(0, 9), max_size=12)
DATASETS = Path(os.environ.get("WINNOW_DATASETS", Path(__file__).parents[2].parent / "shared" / "datasets"))


def tokens(rows: list[list[int]], holding: list[int] | None = None) -> Tokens:
    if holding is None:
        size = max((number for row in rows for number in row), default=-1) + 1
        holding = [sum(number in row for row in rows) for number in range(size)]
    return Tokens(
        np.array([number for row in rows for number in row], dtype=np.int32),
        np.array([len(row) for row in rows], dtype=np.int32),
        np.array(holding, dtype=np.int64),
    )


def agree(first: list[tuple[int, float]], second: list[tuple[int, float]]) -> None:
    """The same rows with the same scores; rows may change places where their scores agree to five digits."""
    assert [score for _, score in first] == pytest.approx([score for _, score in second], rel=1e-5)
    scores = dict(second)
    for row, score in first:
        # A row that only one of them has stands level with the last of the other.
        assert scores.get(row, second[-1][1] if second else 0) == pytest.approx(score, rel=1e-5)


@given(st.lists(TERMS.filter(bool), min_size=1, max_size=6), TERMS)
def test_scores_equal_those_of_rank_bm25_with_the_same_idf(corpus: list[list[str]], query: list[str]) -> None:
    okapi = Okapi(corpus)
    np.testing.assert_allclose(okapi.get_scores(query), BM25Okapi.get_scores(okapi, query))


@given(st.lists(NUMBERS, max_size=30), NUMBERS, st.integers(1, 12))
def test_both_engines_rank_alike(rows: list[list[int]], query: list[int], k: int) -> None:
    held = tokens(rows)
    query = [number for number in query if number < len(held.holding)]
    agree(EagerEngine.of(held).top(query, k), RankEngine(held).top(query, k))


@given(st.lists(NUMBERS.filter(bool), min_size=1, max_size=20), st.integers(1, 7))
def test_mapped_scores_are_those_of_bm25s_itself(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[int]], chunk: int
) -> None:
    held = tokens(rows)
    present = np.flatnonzero(held.holding).tolist()
    plain = BM25(bm25.K1, bm25.B, method="atire", idf_method="lucene")
    plain.index([[str(number) for number in row] for row in rows], show_progress=False)
    folder = tmp_path_factory.mktemp("engine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bm25, "_CHUNK", chunk)  # a collection that does not fit in one piece
        EagerEngine.write(held, folder)
    mapped = EagerEngine.load(folder, len(rows))
    theirs = BM25.load(folder, load_vocab=False, mmap=True)
    for number in present:
        expected = plain.get_scores([str(number)])
        np.testing.assert_allclose(theirs.get_scores([number]), expected, rtol=1e-5)
        agree(mapped.top([number], 5), best(expected, 5))


def collections() -> Iterator[tuple[str, list[str], list[str]]]:
    """The shared collections that are there: name, texts, queries."""
    for folder in sorted((DATASETS / "ir").glob("*")):
        corpus, queries = (
            [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
            for name in ("corpus", "queries")
        )
        yield folder.name, [f"{row['title']}\n{row['text']}" for row in corpus], [row["text"] for row in queries]
    facts = DATASETS / "corpora" / "factbook_passages.jsonl.gz"
    if facts.exists():
        with gzip.open(facts, "rt") as lines:
            rows = [json.loads(line) for line in islice(lines, 3000)]
        yield "factbook", [f"{row['title']}\n{row['text']}" for row in rows], [row["title"] for row in rows[::60]]


def generated() -> tuple[str, list[str], list[str]]:
    """Words as in a language: the n-th is met about 1/n as often as the first."""
    random = np.random.default_rng(4)

    def words(count: int) -> str:
        return " ".join(f"w{int(number)}" for number in random.zipf(1.3, count) if number < 5000)

    return "generated", [words(int(random.integers(1, 120))) for _ in range(1500)], [words(6) for _ in range(60)]


@pytest.mark.parametrize(
    ("texts", "queries"),
    [pytest.param(texts, queries, id=name) for name, texts, queries in [generated(), *collections()]],
)
def test_the_first_ten_are_the_same_from_both_engines(texts: list[str], queries: list[str]) -> None:
    numbering = Numbering()
    held = tokens([numbering.add(tokenise(text)) for text in texts], numbering.holding)
    ranked, eager = RankEngine(held), EagerEngine.of(held)
    for query in queries:
        terms = [numbering.numbers[term] for term in tokenise(query) if term in numbering.numbers]
        expected = ranked.top(terms, 10)
        assert len(expected) == 10
        agree(eager.top(terms, 10), expected)


def test_an_index_ranks_alike_with_either_engine() -> None:
    _, texts, queries = generated()
    documents = [Document(str(number), "", text) for number, text in enumerate(texts[:200])]
    first, second = (Index.build(documents, engine=name) for name in ("rank-bm25", "bm25s"))
    assert (first.engine, second.engine) == ("rank-bm25", "bm25s")
    rows = {passage.id: row for row, passage in enumerate(first.passages)}
    for query in queries:
        hits = [[(rows[hit.passage.id], hit.score) for hit in index.search(query, 10)] for index in (first, second)]
        agree(*hits)


@pytest.mark.parametrize("engine", [EagerEngine.of, RankEngine])
def test_a_term_in_half_of_the_passages_or_in_all_still_scores(engine: type[RankEngine]) -> None:
    made = engine(tokens([[0, 1], [0, 2]]))
    assert [row for row, _ in made.top([1], 5)] == [0]
    assert [row for row, _ in made.top([0], 5)] == [0, 1]


@pytest.mark.parametrize("engine", [EagerEngine.of, RankEngine])
@pytest.mark.parametrize("count", [3, 50_000])
def test_equal_scores_keep_the_order_of_the_rows(engine: type[RankEngine], count: int) -> None:
    made = engine(tokens([[0]] * count))
    assert [row for row, _ in made.top([0], 3)] == [0, 1, 2]


@pytest.mark.parametrize("engine", [EagerEngine.of, RankEngine])
@pytest.mark.parametrize("rows", [[], [[]], [[], []]])
def test_passages_without_terms_are_never_found(engine: type[RankEngine], rows: list[list[int]]) -> None:
    assert engine(tokens(rows)).top([], 5) == []


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=60) | st.lists(st.integers(0, 99), min_size=40, max_size=60),
    st.integers(1, 20),
    st.sampled_from([2, 3, 1024]),
)
@example(list(range(20)), 3, 2)
def test_the_best_are_those_of_a_whole_sort(values: list[int], k: int, block: int) -> None:
    scores = np.array(values, dtype=np.float32)
    order = sorted(range(len(values)), key=lambda row: (-values[row], row))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bm25, "_BLOCK", block)
        assert best(scores, k) == [(row, values[row]) for row in order if values[row] > 0][:k]


def test_the_engine_goes_by_size_or_by_name() -> None:
    assert engine_name("auto", 20_000) == "rank-bm25"
    assert engine_name("auto", 20_001) == "bm25s"
    assert (engine_name("bm25s", 1), engine_name("rank-bm25", 10**6)) == ("bm25s", "rank-bm25")
    with pytest.raises(ValueError, match="unknown engine 'lucene': expected auto, rank-bm25 or bm25s"):
        engine_name("lucene", 1)


@given(st.integers(1, 10**6), st.data())
def test_the_idf_is_above_zero_and_falls(passages: int, data: st.DataObject) -> None:
    holding = data.draw(st.integers(0, passages - 1))
    assert inverse_frequency(passages, holding) > inverse_frequency(passages, holding + 1) > 0
    assert inverse_frequency(passages, 0) == pytest.approx(math.log(2 * passages + 2), abs=1e-9)
