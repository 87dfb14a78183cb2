"""The suite *retrieve*: how well a question, in its dialog, finds its documents, beside plain BM25 on the question alone.

Knows collections and figures. Searching and measuring are in `searching.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec

import numpy as np

from service.suites.base import Metric, Row, mean_of
from service.suites.questions import CLASSIC, Collection, held_out, read_classic, read_own
from service.suites.run import Run, Unavailable
from service.suites.searching import MEASURES, compare

QUICK = 40
"""Questions of each collection in a quick run."""


class Retrieve:
    """A case is a question of a collection: our own over the sample corpus always, the classic ones where --datasets holds them.

    The settings of BM25 were chosen on half of each collection's questions; those of the other half are measured by themselves too.
    """

    name = "retrieve"
    title = "Do questions find the documents that answer them?"
    batch = 1000  # a collection is indexed once for all of its questions

    def cases(self, run: Run) -> list[Row]:
        """Raises `Unavailable` without ir-measures."""
        if find_spec("ir_measures") is None:
            raise Unavailable("needs ir-measures: pip install 'winnow[eval]'")
        names = [name for name in CLASSIC if run.datasets is not None and (run.datasets / "ir" / name).is_dir()]
        found: list[Row] = []
        for name in (*names, "own"):
            collection = _read(name, run)
            cases = [
                {"id": f"{name}/{q.id}", "collection": name, "held_out": held_out(name, q.id)}
                for q in collection.questions
            ]
            found += run.sample(cases, len(cases), QUICK)
        return found

    def judge(self, cases: Sequence[Row], run: Run) -> list[Row]:
        """Every measure of our ranking and of plain BM25's, 0 to 1."""
        rows: dict[str, Row] = {}
        for name in dict.fromkeys(case["collection"] for case in cases):
            collection, asked = _read(name, run), {case["id"] for case in cases}
            part = replace(collection, questions=tuple(q for q in collection.questions if f"{name}/{q.id}" in asked))
            found = compare(part)
            for number, question in enumerate(part.questions):
                rows[f"{name}/{question.id}"] = {
                    side: {measure: float(values[measure][number]) for measure in MEASURES}
                    for side, values in (("ours", found.ours), ("plain", found.plain))
                }
        return [{**case, **rows[case["id"]]} for case in cases]

    def metrics(self, rows: Sequence[Row]) -> list[Metric]:
        """Each measure by collection, nDCG@10 on the held-out half, and its mean over the collections; plain BM25 beside each."""
        names = list(dict.fromkeys(row["collection"] for row in rows))
        found = _with_plain("mean over collections, nDCG@10", "nDCG@10", lambda row: True, _mean_over_collections)
        for name in names:

            def of_collection(row: Row, name: str = name) -> bool:
                return bool(row["collection"] == name)

            def of_held_out(row: Row, name: str = name) -> bool:
                return bool(row["collection"] == name and row["held_out"])

            for measure in MEASURES:
                found += _with_plain(f"{name}, {measure}", measure, of_collection, _mean)
            found += _with_plain(f"{name}, nDCG@10, held-out half", "nDCG@10", of_held_out, _mean)
        return found


Of = Callable[[Sequence[Row]], float | None]


def _with_plain(name: str, measure: str, rows: Callable[[Row], bool], of: Callable[[str, str], Of]) -> list[Metric]:
    return [
        Metric(name, of("ours", measure), rows, unit="score"),
        Metric(f"{name}, plain BM25", of("plain", measure), rows, unit="score", beside=name),
    ]


def _mean(side: str, measure: str) -> Of:
    return mean_of(lambda row: row[side][measure])


def _mean_over_collections(side: str, measure: str) -> Of:
    def mean(rows: Sequence[Row]) -> float | None:
        values: dict[str, list[float]] = {}
        for row in rows:
            values.setdefault(row["collection"], []).append(row[side][measure])
        return float(np.mean([np.mean(each) for each in values.values()])) if values else None

    return mean


def _read(name: str, run: Run) -> Collection:
    if name == "own":
        return read_own()
    assert run.datasets is not None
    return read_classic(run.datasets / "ir" / name)


SUITE = Retrieve()
