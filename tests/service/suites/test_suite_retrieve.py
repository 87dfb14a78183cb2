"""The suite retrieve: its cases, and figures that can be worked out by hand on four documents."""

import json

import numpy as np
import pytest

from service.settings import Settings
from service.suites.base import measured
from service.suites.retrieve import QUICK, SUITE
from service.suites.run import Run, Unavailable


@pytest.fixture
def small(tmp_path):
    """Questions 1 and 2 find what they should, first and second; question 3 finds nothing."""
    folder = tmp_path / "ir" / "med"
    folder.mkdir(parents=True)
    texts = {"k": "lions lions lions", "u": "lions of Uganda and their long summer days", "p": "Lima", "q": "rivers"}
    (folder / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": id, "title": "", "text": text}) + "\n" for id, text in texts.items())
    )
    queries = {"1": "lions?", "2": "lions!", "3": "zebras?"}
    (folder / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": id, "text": text}) + "\n" for id, text in queries.items())
    )
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n1\tk\t1\n2\tu\t1\n3\tq\t1\n")
    return Run(Settings(), datasets=tmp_path)


def figures_of(rows):
    return {metric.name: measured(metric, rows) for metric in SUITE.metrics(rows)}


def test_our_own_questions_need_no_datasets():
    cases = SUITE.cases(Run(Settings()))
    assert {case["collection"] for case in cases} == {"own"}
    assert len(cases) > 200


def test_a_quick_run_asks_a_part_of_each_collection_and_the_same_part_for_the_same_seed(small):
    quick = Run(Settings(), quick=True, datasets=small.datasets)
    cases = SUITE.cases(quick)
    assert cases == SUITE.cases(quick)
    assert sum(case["collection"] == "own" for case in cases) == QUICK
    assert {case["id"] for case in cases} <= {case["id"] for case in SUITE.cases(small)}


def test_each_measure_is_as_it_is_worked_out_by_hand(small):
    cases = [case for case in SUITE.cases(small) if case["collection"] == "med"]
    rows = SUITE.judge(cases, small)
    assert [row["id"] for row in rows] == ["med/1", "med/2", "med/3"]
    assert [row["ours"]["MRR"] for row in rows] == [1, 1 / 2, 0]
    figures = figures_of(rows)
    assert figures["med, MRR"].value == pytest.approx(1 / 2)
    assert figures["med, nDCG@10"].value == pytest.approx((1 + 1 / np.log2(3)) / 3)
    assert figures["med, recall@10"].value == pytest.approx(2 / 3)
    assert figures["med, recall@100"].value == pytest.approx(2 / 3)
    assert figures["med, MRR, plain BM25"].beside == "med, MRR"
    json.dumps(rows, allow_nan=False)


def test_rows_do_not_depend_on_which_cases_are_judged_together(small):
    cases = [case for case in SUITE.cases(small) if case["collection"] == "med"]
    assert SUITE.judge(cases[1:2], small) == SUITE.judge(cases, small)[1:2]
    assert [row["id"] for row in SUITE.judge(cases[::-1], small)] == ["med/3", "med/2", "med/1"]


def row(collection, number, ours, plain, held_out=False):
    values = {"nDCG@10": ours, "recall@10": 0.0, "recall@100": 0.0, "MRR": 0.0}
    return {
        "id": f"{collection}/{number}",
        "collection": collection,
        "held_out": held_out,
        "ours": values,
        "plain": {**values, "nDCG@10": plain},
    }


def test_a_large_collection_weighs_no_more_than_a_small_one_in_the_mean():
    rows = [row("med", n, 1.0, 0.5) for n in range(9)] + [row("own", 0, 0.0, 0.5)]
    figures = figures_of(rows)
    assert figures["mean over collections, nDCG@10"].value == pytest.approx(0.5)
    assert figures["mean over collections, nDCG@10, plain BM25"].value == pytest.approx(0.5)
    assert figures["med, nDCG@10"].value == 1.0


def test_the_held_out_half_is_measured_by_itself_and_undefined_where_it_is_empty():
    figures = figures_of([row("med", 0, 1.0, 0.5), row("med", 1, 0.0, 0.5, True), row("own", 0, 1.0, 1.0)])
    assert figures["med, nDCG@10, held-out half"].value == 0.0
    assert figures["own, nDCG@10, held-out half"].value is None


def test_no_rows_give_no_figure():
    assert {figure.value for figure in figures_of([]).values()} == {None}


def test_without_ir_measures_the_suite_says_what_to_install(monkeypatch):
    monkeypatch.setattr("service.suites.retrieve.find_spec", lambda name: None)
    with pytest.raises(Unavailable, match=r"winnow\[eval\]"):
        SUITE.cases(Run(Settings()))
