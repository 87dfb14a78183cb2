"""How well a question, in its dialog, finds its documents: the chosen BM25 settings against plain BM25, by ir-measures.

    python -m benchmarks.retrieval_quality --datasets DIR [--collections med cisi …] [--grid] [--k1 K1] [--b B] [--title-weight N]

DIR holds ir/{med,cisi,time,lisa,adi}/{corpus.jsonl,queries.jsonl,qrels.tsv} (the classic test collections) and
squad2/dev-2.0-from-html.json.gz (the answerable questions, each to its passage among all); "own" is data/grounding/questions.jsonl
over data/corpus. Settings were chosen on half of the queries of each collection (by hash of the id), one setting for all; the table
shows all queries and the other half alone. Plain BM25: k1 .9, b .4, lower-cased words of two letters or more without bm25s's 33
English stop words, no stemming, title and text, the question alone. Intervals: 95%, bootstrap over queries, paired.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from retrieval.bm25 import K1, B
from retrieval.index import TITLE_WEIGHT
from retrieval.queries import query_of
from retrieval.tokens import tokenise
from service.suites.questions import COLLECTIONS, Collection, halves, read
from service.suites.searching import MEASURES, Compared, Floats, Matrix, compare, measure

# What the data's manifest says of plain BM25: the mean is to be at least 5% better, and no collection worse.
MANIFEST = {"med": 0.673, "cisi": 0.268, "time": 0.627, "lisa": 0.350}
RESAMPLES = 10_000


def resampled(values: Floats, seed: int = 0) -> Floats:
    """The mean of each of RESAMPLES bootstrap samples of the questions; the same seed draws the same questions, so that
    differences of two are paired.
    """
    generator = np.random.default_rng(seed)
    return np.array([values[generator.integers(0, len(values), len(values))].mean() for _ in range(RESAMPLES)])


def interval(means: Floats) -> str:
    """The middle 95% of bootstrap means, to print."""
    low, high = np.percentile(means, [2.5, 97.5])
    return f"[{low:.3f}, {high:.3f}]"


def table(compared: Sequence[Compared], half: str) -> Table:
    """Every collection on one half of its questions, and the mean of those that the manifest names."""
    shown = Table(title=half)
    headings = ("collection", "n", "manifest", "plain nDCG@10", "ours", "95%", "difference", "95%")
    for heading in (*headings, *(name for name in MEASURES if name != "nDCG@10")):
        shown.add_column(heading, justify="left" if heading == "collection" else "right")
    drawn: dict[str, tuple[Floats, Floats]] = {}
    for one in compared:
        name, kept = one.collection.name, halves(one.collection)[half]
        plain, ours = (values["nDCG@10"][kept] for values in (one.plain, one.ours))
        drawn[name] = resampled(plain), resampled(ours)
        stated = MANIFEST.get(name) if half == "all queries" else None
        others = [
            f"{one.plain[m][kept].mean():.3f} → {one.ours[m][kept].mean():.3f}" for m in MEASURES if m != "nDCG@10"
        ]
        shown.add_row(
            *(name, str(kept.sum()), f"{stated:.3f}" if stated else "", f"{plain.mean():.3f}", f"{ours.mean():.3f}"),
            *(interval(drawn[name][1]), f"{(ours - plain).mean():+.3f}", interval(drawn[name][1] - drawn[name][0])),
            *others,
        )
    return shown


def verdict(compared: Sequence[Compared], half: str) -> Iterator[str]:
    """How the mean over the manifest's collections compares, with its interval, and which collections got worse.

    The manifest's figures are of all queries, so only all queries are held against them.
    """
    stated = MANIFEST if half == "all queries" else {}
    values = {
        one.collection.name: [each["nDCG@10"][halves(one.collection)[half]] for each in (one.plain, one.ours)]
        for one in compared
    }
    named = [name for name in values if name in MANIFEST]
    if named:
        plain, ours = (np.mean([resampled(values[name][side]) for name in named], axis=0) for side in (0, 1))
        means = [float(np.mean([values[name][side].mean() for name in named])) for side in (0, 1)]
        line = (
            f"{half}: mean nDCG@10 over {', '.join(named)}: plain {means[0]:.3f}, ours {means[1]:.3f}, "
            f"ours / plain {means[1] / means[0]:.3f} {interval(ours / plain)}"
        )
        if stated:
            line += f"; ours / the manifest's plain {means[1] / np.mean([stated[name] for name in named]):.3f}"
        yield line
    worse = [name for name, (plain, ours) in values.items() if ours.mean() < max(plain.mean(), stated.get(name, 0.0))]
    yield f"{half}: worse than plain: {', '.join(worse) or 'none'}"


def grid(collections: Sequence[Collection]) -> Iterator[tuple[float, float, float, float, list[float]]]:
    """Mean nDCG@10 over the collections' tuning halves for each k1, b and title weight, best first, with each collection's own."""
    prepared = []
    for collection in collections:
        kept = halves(collection)["tuning half"]
        questions = tuple(q for q, keep in zip(collection.questions, kept, strict=True) if keep)
        prepared.append((Collection(collection.name, collection.texts, questions), Matrix(collection, tokenise)))
    found = []
    for k1 in (0.6, 0.9, 1.2, 1.5, 1.8, 2.2):
        for b in (0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9):
            for title_weight in (1, 2, 3):
                each = []
                for collection, matrix in prepared:
                    queries = [query_of(question.text, question.earlier) for question in collection.questions]
                    scored = zip(collection.questions, matrix.scores(queries, k1, b, title_weight), strict=True)
                    rankings = {question.id: matrix.ranking(scores) for question, scores in scored}
                    each.append(float(measure(collection, rankings)["nDCG@10"].mean()))
                found.append((float(np.mean(each)), k1, b, float(title_weight), each))
    yield from sorted(found, reverse=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=Path, required=True, help="the folder that holds ir/ and squad2/")
    parser.add_argument("--collections", nargs="+", choices=COLLECTIONS, default=COLLECTIONS)
    parser.add_argument("--k1", type=float, default=K1)
    parser.add_argument("--b", type=float, default=B)
    parser.add_argument("--title-weight", type=float, default=TITLE_WEIGHT)
    parser.add_argument(
        "--grid", action="store_true", help="k1, b and title weight on the tuning halves instead (minutes with squad2)"
    )
    options = parser.parse_args()

    collections = [read(name, options.datasets) for name in options.collections]
    if options.grid:
        print("k1   b    title  mean   ", *options.collections)
        for mean, k1, b, title_weight, each in grid(collections):
            print(f"{k1:.1f}  {b:.2f}  {title_weight:.0f}      {mean:.4f} ", *(f"{value:.4f}" for value in each))
        return
    compared = [compare(collection, options.k1, options.b, options.title_weight) for collection in collections]
    print(f"k1 {options.k1}, b {options.b}, title weight {options.title_weight}; recall and MRR: plain → ours")
    console = Console(width=160)
    for half in ("all queries", "held-out half"):
        console.print(table(compared, half))
        for line in verdict(compared, half):
            print(line)


if __name__ == "__main__":
    main()
