"""How well relevance tells passages that answer a question from those that only share words with it.

    python -m benchmarks.relevance --datasets DIRECTORY [--train]

The three best hits of each of our own questions about the sample corpus (chat and questions that it cannot answer among them), and of
SQuAD 2's over half of its articles, so that half of the questions have no answer there. A hit is relevant when it is of a document
that answers. Ten-fold cross-validation over questions; coverage, the share of a question's words that a passage holds, beside it.
`--train` fits the weights on all of it, each set weighing the same, and writes them to retrieval/relevance.json.
"""

import argparse
import gzip
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from classifiers.metrics import auroc, estimate
from data import CORPUS, GROUNDING
from retrieval import Document, Index, leans, query_of, read_documents
from retrieval.relevance import FEATURES, features

WEIGHTS = Path(__file__).resolve().parent.parent / "retrieval" / "relevance.json"
HITS = 3
THRESHOLD = 0.3
Asked = tuple[str, list[str], frozenset[str], str]  # question, earlier turns, documents that answer it, kind


@dataclass(frozen=True)
class Rows:
    """A row a hit: its figures, whether it answers, the question's number, the question's kind. `asked`: questions of a kind."""

    x: NDArray[np.float64]
    relevant: NDArray[np.bool_]
    question: NDArray[np.int64]
    kind: list[str]
    asked: Counter[str]


def rows_of(index: Index, questions: Iterator[Asked]) -> Rows:
    x, relevant, number, kinds = [], [], [], []
    count: Counter[str] = Counter()
    for n, (question, earlier, gold, kind) in enumerate(questions):
        count[kind] += 1
        asked = query_of(question, earlier)
        leaning = bool(earlier) and leans(question)
        hits = index.search(asked, 5)
        for hit, row in list(
            zip(hits, features(asked if leaning else question, hits, index.weight, leaning), strict=True)
        )[:HITS]:
            x.append(row)
            relevant.append(hit.passage.document_id in gold)
            number.append(n)
            kinds.append(kind)
    return Rows(np.array(x), np.array(relevant), np.array(number), kinds, count)


def own() -> Rows:
    documents, _ = read_documents([CORPUS])
    lines = (GROUNDING / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return rows_of(
        Index.build(documents),
        ((r["question"], [m["content"] for m in r["earlier"]], frozenset(r["documents"]), r["kind"]) for r in rows),
    )


def squad(datasets: Path) -> Rows:
    with gzip.open(datasets / "squad2" / "dev-2.0-from-html.json.gz", "rt", encoding="utf-8") as file:
        articles = json.load(file)["data"]
    documents, asked = [], []
    for a, article in enumerate(articles):
        held = a % 2 == 0
        for p, paragraph in enumerate(article["paragraphs"]):
            id = f"{a}-{p}"
            if held:
                documents.append(Document(id, article["title"].replace("_", " "), paragraph["context"]))
            gold = frozenset([id] if held else [])
            asked += [
                (q["question"], list[str](), gold, "answerable" if held else "not_answerable")
                for q in paragraph["qas"][:1]
            ]
    return rows_of(Index.build(documents), iter(asked))


def fitted(x: NDArray[np.float64], y: NDArray[np.bool_], weights: NDArray[np.float64]):
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y, logisticregression__sample_weight=weights)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=Path, required=True)
    parser.add_argument("--train", action="store_true")
    arguments = parser.parse_args()
    sets = {"own questions": own(), "SQuAD 2, half of the articles": squad(arguments.datasets)}
    x = np.vstack([rows.x for rows in sets.values()])
    y = np.concatenate([rows.relevant for rows in sets.values()])
    groups = np.concatenate([rows.question + 10**6 * i for i, rows in enumerate(sets.values())])
    weights = np.concatenate([np.full(len(rows.x), 1 / len(rows.x)) for rows in sets.values()]) * len(x) / len(sets)
    predicted = np.zeros(len(x))
    for train, test in GroupKFold(10).split(x, y, groups):
        predicted[test] = fitted(x[train], y[train], weights[train]).predict_proba(x[test])[:, 1]
    table = Table(title="hits of a question that answer it, AUROC with 95% intervals, ten-fold cross-validation")
    for heading in ("set", "hits", "relevant", "relevance", "coverage"):
        table.add_column(heading)
    start = 0
    for name, rows in sets.items():
        part = slice(start, start + len(rows.x))
        start = part.stop
        found = [
            str(estimate(auroc, rows.relevant, scores, list(map(str, rows.question))))
            for scores in (predicted[part], rows.x[:, 0])
        ]
        table.add_row(name, str(len(rows.x)), f"{rows.relevant.mean():.0%}", *found)
    Console().print(table)
    shown = Table(
        title=f"own questions with a passage at or above {THRESHOLD}, of them with one that answers (coverage .4 in brackets)"
    )
    for heading in ("kind", "questions", "shown", "with an answer"):
        shown.add_column(heading)
    rows = sets["own questions"]
    for kind in dict.fromkeys(rows.kind):
        of_kind = np.array([k == kind for k in rows.kind])
        counts = []
        for passed in (predicted[: len(rows.x)] >= THRESHOLD, rows.x[:, 0] >= 0.4):
            counts.append(len(set(rows.question[of_kind & passed])))
            counts.append(len(set(rows.question[of_kind & passed & rows.relevant])))
        shown.add_row(kind, str(rows.asked[kind]), f"{counts[0]} ({counts[2]})", f"{counts[1]} ({counts[3]})")
    Console().print(shown)
    if arguments.train:
        model = fitted(x, y, weights)
        scale, coefficients = model[0], model[1].coef_[0] / model[0].scale_
        bias = float(model[1].intercept_[0] - (scale.mean_ * coefficients).sum())
        weights_of = {name: round(float(value), 3) for name, value in zip(FEATURES, coefficients, strict=True)}
        WEIGHTS.write_text(json.dumps({"bias": round(bias, 3), "weights": weights_of}, indent=1) + "\n")
        print(f"written to {WEIGHTS.name}")


if __name__ == "__main__":
    main()
