"""Time to build, start and ask an index, beside plain rank-bm25 and plain bm25s on the same passages in the same run.

    python benchmarks/retrieval_speed.py [--datasets ../shared/datasets] [--sizes 1000 10000 100000] [--million] [--queries 50]

Passages are those of the shared corpora; where they do not suffice, their words in another order. "Ours" reads JSON Lines and ends
with a folder on disk, and a query ends with the passages' texts. The peers get the tokens of the same tokeniser (its time counts for
each of the three) and give row numbers. Plain rank-bm25 has no form on disk, so its start is its build; above 100,000 passages it is
left out. Ratios are to ours: above 1, ours is faster.
"""

import argparse
import gzip
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from bm25s import BM25
from rank_bm25 import BM25Okapi
from rich.console import Console
from rich.table import Table

from retrieval import Document, Index, split_passages, update_index
from retrieval.bm25 import K1, B
from retrieval.tokens import tokenise

K = 10
MOST_FOR_RANK_BM25 = 100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=Path, default=Path("../shared/datasets"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="passages")
    parser.add_argument("--million", action="store_true", help="1,000,000 passages as well")
    parser.add_argument("--queries", type=int, default=50)
    options = parser.parse_args()

    texts, queries = corpus(options.datasets, options.queries)
    table = Table(
        title=f"seconds to build and to start; ms a query: median (5%–95%), n = {len(queries)} questions, k = {K}"
    )
    for heading in ("passages", "what", "ours", "plain rank-bm25", "plain bm25s", "rank-bm25 / ours", "bm25s / ours"):
        table.add_column(heading, justify="right")
    for size in [*options.sizes, *([1_000_000] if options.million else [])]:
        with tempfile.TemporaryDirectory() as folder:
            timed(table, size, list(cycled(texts, size)), queries, Path(folder))
    Console(width=140).print(table)


def corpus(datasets: Path, count: int) -> tuple[list[str], list[str]]:
    """The texts of the shared corpora's passages, in a fixed random order, and questions about them."""
    texts, questions = [], []
    for name in ("factbook_passages", "medquad"):
        with gzip.open(datasets / "corpora" / f"{name}.jsonl.gz", "rt") as lines:
            for line in islice(lines, 40_000):
                row = json.loads(line)
                texts.append(row.get("text") or row["answer"])
                questions.append(row.get("question") or row["title"])
    order = random.Random(0)
    order.shuffle(texts)
    # Few of these texts are longer than a passage; the first words of one are enough for a measurement of time.
    return [" ".join(text.split()[:100]) for text in texts if text.split()], order.sample(questions, count)


def cycled(texts: list[str], size: int) -> Iterator[str]:
    """So many texts: each round after the first has every text's words in another order, a tenth of them from the next text."""
    order = random.Random(1)
    for number in range(size):
        words = texts[number % len(texts)].split()
        if number >= len(texts):
            words[: len(words) // 10] = texts[(number + 1) % len(texts)].split()[: len(words) // 10]
            order.shuffle(words)
        yield " ".join(words)


def timed(table: Table, size: int, texts: list[str], queries: list[str], folder: Path) -> None:
    file = folder / "in.jsonl"
    with file.open("w") as lines:
        lines.writelines(json.dumps({"text": text}) + "\n" for text in texts)
    built, _ = clocked(lambda: update_index(file, folder / "ix"))
    started, index = clocked(lambda: Index.load(folder / "ix"))
    assert isinstance(index, Index)
    ours = asked(lambda query: index.search(query, K), queries)

    passages = [each.text for n, text in enumerate(texts) for each in split_passages(Document(str(n), "", text))]
    tokenising, tokens = clocked(lambda: [tokenise(text) for text in passages])
    eager = BM25(K1, B, method="atire", idf_method="lucene", backend="numpy")
    scoring, _ = clocked(lambda: eager.index(tokens, show_progress=False))
    eager.save(folder / "plain")
    eager_start, eager = clocked(lambda: BM25.load(folder / "plain", mmap=True))
    theirs = asked(
        lambda query: eager.retrieve([tokenise(query)], k=min(K, len(passages)), show_progress=False), queries
    )

    rank_build: float | None = None
    ranked: list[float] = []
    if size <= MOST_FOR_RANK_BM25:
        rank_build, okapi = clocked(lambda: BM25Okapi(tokens, k1=K1, b=B))
        ranked = asked(lambda query: np.argsort(okapi.get_scores(tokenise(query)))[::-1][:K], queries)

    count = f"{len(index):,} ({index.engine})"
    rank_total = None if rank_build is None else tokenising + rank_build
    table.add_row(count, "build", *seconds(built, rank_total, tokenising + scoring))
    table.add_row("", "start", *seconds(started, rank_build, eager_start))
    medians = [statistics.median(times) if times else None for times in (ours, ranked, theirs)]
    table.add_row("", "query", *map(spread, (ours, ranked, theirs)), *ratios(*medians), end_section=True)


def clocked(work: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    done = work()
    return time.perf_counter() - begun, done


def asked(ask: Callable[[str], object], queries: list[str]) -> list[float]:
    """Seconds of each query, after one round that is not counted."""
    for query in queries:
        ask(query)
    return [clocked(lambda query=query: ask(query))[0] for query in queries]  # type: ignore[misc]


def spread(times: list[float]) -> str:
    if not times:
        return "–"
    low, high = np.percentile(times, [5, 95]) * 1000
    return f"{statistics.median(times) * 1000:.2f} ({low:.2f}–{high:.2f})"


def seconds(ours: float, ranked: float | None, theirs: float) -> list[str]:
    shown = ["–" if value is None else f"{value:.3f}" for value in (ours, ranked, theirs)]
    return [*shown, *ratios(ours, ranked, theirs)]


def ratios(ours: float | None, ranked: float | None, theirs: float | None) -> list[str]:
    return ["–" if value is None or not ours else f"{value / ours:.2f}" for value in (ranked, theirs)]


if __name__ == "__main__":
    main()
