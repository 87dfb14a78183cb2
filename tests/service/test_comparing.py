import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from service.comparing import compare, holm, print_comparison
from service.evaluating import evaluate
from service.run_folder import RunFolder
from service.suites.base import compared
from tests.service.console_parts import silent
from tests.service.suites.tiny import TinySuite, register, tiny_run


class Steady(TinySuite):
    """`hits` says which share of the cases is one."""

    def __init__(self, name="tiny", hits=0.5, n=60):
        super().__init__(name, n, 16)
        self.hits = hits

    def judge(self, cases, run):
        return [{**case, "hit": int(case["id"][1:]) < self.hits * self.n} for case in cases]


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch):
    monkeypatch.setattr("service.suites.base.RESAMPLES", 60)
    monkeypatch.setattr("service.suites.base.MOST_DRAWS", 300)


def made(monkeypatch, folder, *suites, run=None):
    register(monkeypatch, *suites)
    evaluate([suite.name for suite in suites], run or tiny_run(), RunFolder(folder), "winnow eval", silent)
    return RunFolder(folder)


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """Two runs, of half and of nine tenths hits."""
    return [made(monkeypatch, tmp_path / str(hits), Steady(hits=hits)) for hits in (0.5, 0.9)]


def test_each_metric_that_both_have_is_compared_on_the_rows_that_both_have(runs):
    found = compare(*runs, False, silent)
    rows, others = (folder.rows("tiny").values() for folder in runs)
    metrics = Steady().metrics(rows)
    assert [row["name"] for row in found["suites"]["tiny"]] == [metric.name for metric in metrics]
    first = found["suites"]["tiny"][0]
    rows.sort(key=lambda row: row["id"])
    expected = compared(metrics[0], rows, others, 0)
    assert (first["first"], first["second"], first["p"], first["n"]) == (0.5, 0.9, expected.p, 60)
    assert first["difference"] == pytest.approx(0.4)
    assert found["differ"] == []


def test_rows_that_one_run_alone_has_are_counted_and_left_out(monkeypatch, tmp_path, runs):
    register(monkeypatch, Steady(hits=0.5, n=60))
    path = runs[1].path / "rows/tiny.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[10:]))
    first = compare(*runs, False, silent)["suites"]["tiny"][0]
    assert (first["n"], first["only_first"], first["only_second"]) == (50, 10, 0)
    assert first["first"] == pytest.approx(20 / 50)


@pytest.mark.parametrize(("fact", "run"), [("seed", {"seed": 1}), ("quick", {"quick": True})])
def test_runs_of_other_cases_are_refused_with_the_reason_or_compared_anyway(monkeypatch, tmp_path, runs, fact, run):
    other = made(monkeypatch, tmp_path / "other", Steady(), run=tiny_run(**run))
    with pytest.raises(ValueError, match=f"are not of the same cases: {fact} differ; --anyway"):
        compare(runs[0], other, False, silent)
    assert compare(runs[0], other, True, silent)["differ"] == [fact]


def test_runs_on_other_data_are_refused(monkeypatch, tmp_path, runs):
    (tmp_path / "data").mkdir()
    monkeypatch.setattr("service.suites.facts.ROOT", tmp_path / "data")
    other = made(monkeypatch, tmp_path / "other", Steady())
    with pytest.raises(ValueError, match=r"not of the same cases: data\.corpus, .* differ"):
        compare(runs[0], other, False, silent)


def test_another_model_or_policy_is_what_a_comparison_is_for(monkeypatch, tmp_path, runs):
    class Remote:
        name, url = "theirs", "http://there/v1"

    other = made(monkeypatch, tmp_path / "other", Steady(), run=tiny_run(endpoint=Remote()))
    found = compare(runs[0], other, False, silent)
    assert found["differ"] == ["endpoint", "model"]
    assert "model: scripted → theirs" in printed(found)


def test_a_folder_without_a_run_or_with_one_that_has_not_ended_is_refused(tmp_path, runs):
    with pytest.raises(ValueError, match="absent holds no run"):
        compare(RunFolder(tmp_path / "absent"), runs[0], False, silent)
    (runs[1].path / "results.json").unlink()
    with pytest.raises(ValueError, match="has not come to its end; go on with: winnow eval --output"):
        compare(*runs, False, silent)


def test_suites_that_one_run_alone_has_are_named(monkeypatch, tmp_path, runs):
    both = made(monkeypatch, tmp_path / "both", Steady(), Steady("other"))
    found = compare(runs[0], both, False, silent)
    assert (list(found["suites"]), found["only_first"], found["only_second"]) == (["tiny"], [], ["other"])
    assert "only in the second run: other" in printed(found)
    alone = made(monkeypatch, tmp_path / "alone", Steady("other"))
    with pytest.raises(ValueError, match="have no suite in common"):
        compare(runs[0], alone, False, silent)


def printed(comparison):
    out = Console(file=io.StringIO(), width=160)
    print_comparison(comparison, out)
    return " ".join(out.file.getvalue().replace("│", " ").split())


def test_a_significant_difference_is_called_better_or_worse_by_what_the_metric_is(runs):
    better, worse = (compare(*pair, False, silent) for pair in (runs, runs[::-1]))
    json.dumps(better, allow_nan=False)
    assert "hits 50.0% 90.0% +40.0% +" in printed(better)
    assert " better 60 " in printed(better)
    assert " worse " not in printed(better)
    assert " worse 60 " in printed(worse)
    same = compare(runs[0], runs[0], False, silent)
    assert not {"better", "worse"} & set(printed(same).split())
    assert "hits, none n/a n/a n/a n/a 0" in printed(same)


def test_holm_worked_out_by_hand():
    # sorted .005 .01 .03 .04: times 4, 3, 2, 1 = .02 .03 .06 .04, the last raised to .06
    assert holm([0.01, 0.04, None, 0.03, 0.005]) == pytest.approx([0.03, 0.06, None, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.02, 0.02]) == [0.04, 0.04]
    assert holm([None]) == [None]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_a_corrected_p_is_never_smaller_and_keeps_the_order(ps):
    found = holm(ps)
    assert all(p <= q <= 1 for p, q in zip(ps, found, strict=True))
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    assert sorted(found) == [found[i] for i in order]
