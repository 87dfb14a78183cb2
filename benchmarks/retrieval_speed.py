"""Time to build, start and ask an index, beside plain rank-bm25 and plain bm25s on the same passages in the same run.

    python benchmarks/retrieval_speed.py [--sizes 1000 10000 100000 1000000] [--queries 100]

Passages are made of words drawn by Zipf's and Mandelbrot's law, 15 to 80 of them, fitted to the shared corpora (72,080 passages of 46
index terms; the commonest stands in 29% of them). A query is five different words of one passage. Nothing is read or tokenised but
queries: all three get the same lists of terms to build from. Ours ends with a folder on disk, its checksums taken, and a query with
the passages' texts; the others end in memory and give row numbers. Plain rank-bm25 has no form on disk, so its start is its build;
it is left out above 100,000 passages, where a query takes seconds, and asked a tenth of the queries. Ratios are to ours:
above 1, ours is faster. The first ten scores of ours and bm25s's are compared, and the whole takes about four minutes.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from bm25s import BM25
from rank_bm25 import BM25Okapi

from retrieval import Index, Passage
from retrieval.bm25 import K1, B
from retrieval.catalogue import Filed
from retrieval.index import NewIndex
from retrieval.storage import replacing
from retrieval.tokens import tokenise

K = 10
BATCH = 10_000
MOST_FOR_RANK_BM25 = 100_000
# As in the shared corpora, the term of rank r stands for (r + 20) ** -1.1 of the tokens.
SHIFT, EXPONENT, VOCABULARY = 20, 1.1, 300_000
HEADINGS = ("passages", "", "ours", "rank-bm25", "bm25s", "rank-bm25 / ours", "bm25s / ours")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000], help="passages")
    parser.add_argument("--queries", type=int, default=100)
    options = parser.parse_args()
    print("| " + " | ".join(HEADINGS) + " |\n|" + "---:|" * len(HEADINGS), flush=True)
    for size in options.sizes:
        passages = made_up(size)
        queries = questions(passages, options.queries)
        with tempfile.TemporaryDirectory() as folder:
            for row in timed(passages, queries, Path(folder)):
                print("| " + " | ".join(row) + " |", flush=True)


def questions(passages: Sequence[Sequence[str]], count: int) -> list[str]:
    """So many queries of five terms of a passage each, always the same."""
    chance = np.random.default_rng(1)
    return [
        " ".join(chance.permutation(sorted(set(passages[row])))[:5])
        for row in chance.integers(len(passages), size=count)
    ]


def made_up(size: int) -> list[list[str]]:
    """The terms of so many passages, always the same for a size."""
    consonants, vowels = "bdfghjklmnprstvz", "aeiou"
    syllables = ["".join(each) for each in product(consonants, vowels)]
    # A word that ends in k is its own stem.
    words = np.array(
        ["".join(each) + "k" for each, _ in zip(product(syllables, repeat=3), range(VOCABULARY), strict=False)], object
    )
    chance = np.random.default_rng(0)
    chance.shuffle(words)
    shares = np.cumsum((np.arange(len(words)) + 1.0 + SHIFT) ** -EXPONENT)
    passages: list[list[str]] = []
    for first in range(0, size, BATCH):
        ends = np.cumsum(chance.integers(15, 80, min(BATCH, size - first)))
        drawn = words[np.searchsorted(shares, chance.random(ends[-1]) * shares[-1])]
        passages += [terms.tolist() for terms in np.split(drawn, ends[:-1])]
    return passages


def timed(passages: list[list[str]], queries: list[str], folder: Path) -> list[list[str]]:
    size = len(passages)
    say(size, "ours")
    built, _ = clocked(lambda: build(passages, folder / "ix"))
    started, index = clocked(lambda: Index.load(folder / "ix"))
    ours = asked(lambda query: index.search(query, K), queries)

    say(size, "bm25s")
    eager = BM25(K1, B, method="atire", idf_method="lucene", backend="numpy")
    eager_built, _ = clocked(lambda: eager.index(passages, show_progress=False))
    eager.save(folder / "plain")
    eager_started, eager = clocked(lambda: BM25.load(folder / "plain", mmap=True))
    k = min(K, size)
    theirs = asked(lambda query: eager.retrieve([tokenise(query)], k=k, show_progress=False), queries)
    for query in queries:
        found = eager.retrieve([tokenise(query)], k=k, show_progress=False).scores[0]
        mine = [hit.score for hit in index.search(query, K)]
        assert np.allclose(mine, found[: len(mine)], rtol=1e-4), "ours and bm25s differ"

    ranked: list[float] = []
    rank_built = None
    if size <= MOST_FOR_RANK_BM25:
        say(size, "rank-bm25")
        rank_built, okapi = clocked(lambda: BM25Okapi(passages, k1=K1, b=B))
        few = queries[: max(len(queries) // 10, 1)]
        ranked = asked(lambda query: np.argsort(okapi.get_scores(tokenise(query)))[::-1][:K], few)

    def milliseconds(measure: Callable[[list[float]], float]) -> list[float | None]:
        return [measure(times) * 1000 if times else None for times in (ours, ranked, theirs)]

    return [
        [f"{size:,} ({index.engine})", "build, s", *compared([built, rank_built, eager_built])],
        ["", "start, s", *compared([started, rank_built, eager_started])],
        ["", "query, ms: median", *compared(milliseconds(statistics.median))],
        ["", "95th percentile", *compared(milliseconds(lambda times: float(np.percentile(times, 95))))],
    ]


def build(passages: list[list[str]], folder: Path) -> None:
    """An index of the passages, many in a document, as `update_index` writes it."""
    with replacing(folder) as place, NewIndex(place.begin()) as made:
        for first in range(0, len(passages), BATCH):
            name, batch = f"d{first}", passages[first : first + BATCH]
            texts = [" ".join(terms) for terms in batch]
            pieces = [Passage(f"{name}#{at}", name, "", "", "", text, 0, len(text)) for at, text in enumerate(texts, 1)]
            made.add(Filed(name, "", "", "", 0, 0), pieces, batch)
        place.publish(made.finish())


def clocked(work: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    done = work()
    return time.perf_counter() - begun, done


def asked(ask: Callable[[str], object], queries: list[str]) -> list[float]:
    """Seconds of each query, after one round that is not counted."""
    for query in queries:
        ask(query)
    return [clocked(lambda query=query: ask(query))[0] for query in queries]  # type: ignore[misc]


def compared(values: list[float | None]) -> list[str]:
    """Ours and the others', and the others' as multiples of ours."""
    ours = values[0]
    assert ours is not None
    shown = ["–" if value is None else figure(value, 3) for value in values]
    return [*shown, *("–" if value is None else figure(value / ours, 2) for value in values[1:])]


def figure(value: float, digits: int) -> str:
    """So many significant digits, without an exponent."""
    return f"{float(f'{value:.{digits}g}'):g}"


def say(size: int, what: str) -> None:
    print(f"{size:,} passages: {what}", file=sys.stderr)


if __name__ == "__main__":
    main()
