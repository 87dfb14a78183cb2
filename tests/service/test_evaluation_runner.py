import io
import json
from dataclasses import asdict, replace

import pytest
from rich.console import Console

from service.evaluating import SuiteFailed, evaluate
from service.headline import LAMDA, LINES, MODELS, Line, headline
from service.run_folder import RunFolder, newest
from service.suites import SUITES
from service.suites.base import Metric, mean_of, measured
from service.suites.facts import facts_of
from service.suites.run import Run, Unavailable
from service.summary import interval, print_summary, written
from tests.service.console_parts import silent
from tests.service.scripted import POLICY, make_corridor
from tests.service.suites.tiny import TinySuite, register, tiny_run


@pytest.fixture
def suite(monkeypatch):
    made = TinySuite()
    register(monkeypatch, made)
    monkeypatch.setattr("service.suites.base.RESAMPLES", 40)
    return made


def go(folder, *names, run=None):
    return evaluate(names or list(SUITES), run or tiny_run(), RunFolder(folder), "winnow eval", silent)


def lines(folder, name="tiny"):
    text = (folder / "rows" / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


# rows and results


def test_a_run_leaves_its_facts_its_rows_and_its_results(suite, tmp_path):
    results = go(tmp_path)
    assert json.loads((tmp_path / "run.json").read_text()) == results["run"] == facts_of(tiny_run())
    assert json.loads((tmp_path / "results.json").read_text()) == results
    assert [row["id"] for row in lines(tmp_path)] == [f"c{i}" for i in range(7)]
    entry = results["suites"]["tiny"]
    assert (entry["title"], entry["n"], results["command"]) == ("Is the seed even?", 7, "winnow eval")
    assert entry["seconds"] >= 0
    expected = [asdict(measured(metric, lines(tmp_path), 0)) for metric in suite.metrics(lines(tmp_path))]
    assert entry["figures"] == expected
    assert (expected[0]["value"], expected[0]["prevalence"]) == (sum(r["hit"] for r in lines(tmp_path)) / 7, 3 / 7)
    assert (expected[-1]["name"], expected[-1]["value"], expected[-1]["n"]) == ("hits, none", None, 0)


def test_cases_are_judged_in_batches_of_the_suites_size(suite, tmp_path, monkeypatch):
    sizes = []
    judge = suite.judge
    monkeypatch.setattr(suite, "judge", lambda cases, run: sizes.append(len(cases)) or judge(cases, run))
    go(tmp_path)
    assert sizes == [3, 3, 1]


def test_the_same_seed_gives_the_same_rows_and_figures_and_another_seed_others(suite, tmp_path):
    suite.n = 60
    first, second, _ = (go(tmp_path / str(i), run=tiny_run(seed)) for i, seed in enumerate((3, 3, 4)))
    assert first["suites"]["tiny"]["figures"] == second["suites"]["tiny"]["figures"]
    assert (tmp_path / "0/rows/tiny.jsonl").read_bytes() == (tmp_path / "1/rows/tiny.jsonl").read_bytes()
    assert lines(tmp_path / "0") != lines(tmp_path / "2")


def test_a_suite_without_cases_has_figures_that_are_not_defined(suite, tmp_path):
    suite.n = 0
    entry = go(tmp_path)["suites"]["tiny"]
    assert (entry["n"], [figure["value"] for figure in entry["figures"]]) == (0, [None, None])


# going on


def test_a_run_that_was_killed_at_any_byte_goes_on_to_the_same_rows_and_figures(suite, tmp_path):
    whole = go(tmp_path / "whole")
    file = (tmp_path / "whole/rows/tiny.jsonl").read_bytes()
    for length in [*range(0, len(file), 7), len(file)]:
        folder = tmp_path / str(length)
        RunFolder(folder).path.mkdir()
        RunFolder(folder).begin(whole["run"])
        (folder / "rows").mkdir()
        (folder / "rows/tiny.jsonl").write_bytes(file[:length])
        suite.judged.clear()
        again = go(folder)
        assert (folder / "rows/tiny.jsonl").read_bytes() == file
        assert again["suites"]["tiny"]["figures"] == whole["suites"]["tiny"]["figures"]
        batches_done = file[:length].count(b"\n") // 3 if length < len(file) else 3
        assert suite.judged == [f"c{i}" for i in range(7)][batches_done * 3 :]


def test_a_finished_run_judges_nothing_again(suite, tmp_path):
    first = go(tmp_path)
    suite.judged.clear()
    assert go(tmp_path) == first
    assert suite.judged == []


def test_rows_judged_before_an_error_are_kept_and_the_run_goes_on_from_them(suite, tmp_path, monkeypatch):
    judge = suite.judge

    def failing(cases, run):
        if cases[0]["id"] == "c3":
            raise RuntimeError("the reply was: how to make a bomb")
        return judge(cases, run)

    monkeypatch.setattr(suite, "judge", failing)
    with pytest.raises(SuiteFailed, match=r"suite tiny stopped: RuntimeError in failing, line \d+ of ") as caught:
        go(tmp_path)
    assert "bomb" not in str(caught.value)
    assert "how to make a bomb" in (tmp_path / "failure.txt").read_text()
    assert [row["id"] for row in lines(tmp_path)] == ["c0", "c1", "c2"]
    assert not (tmp_path / "results.json").exists()
    monkeypatch.undo()
    register(monkeypatch, suite)
    suite.judged.clear()
    assert go(tmp_path)["suites"]["tiny"]["n"] == 7
    assert suite.judged == ["c3", "c4", "c5", "c6"]


def test_an_error_of_winnows_own_is_told_in_its_own_words(suite, tmp_path, monkeypatch):
    class OwnError(Exception):
        __module__ = "service.suites.endpoint"

    def failing(cases, run):
        raise OwnError("http://there/v1 answered 500")

    monkeypatch.setattr(suite, "judge", failing)
    with pytest.raises(SuiteFailed, match="suite tiny stopped: http://there/v1 answered 500; more in"):
        go(tmp_path)


CHANGED = {
    "seed": lambda: tiny_run(seed=1),
    "quick": lambda: tiny_run(quick=True),
    "policy": lambda: changed_run(policy=replace(POLICY, preset="strict")),
    "settings.candidates": lambda: changed_run(candidates=3),
}


def changed_run(**options):
    corridor = make_corridor(**options)
    return Run(corridor.settings, corridor=corridor)


@pytest.mark.parametrize("name", CHANGED)
def test_a_folder_of_a_run_with_other_facts_is_refused_with_the_names_of_what_differs(suite, tmp_path, name):
    go(tmp_path)
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(ValueError, match=f"made with other facts: {name} .*; name another folder with --output"):
        go(tmp_path, run=CHANGED[name]())
    assert (tmp_path / "run.json").read_bytes() == before


def test_a_setting_on_which_no_reply_depends_may_change(suite, tmp_path):
    go(tmp_path)
    go(tmp_path, run=changed_run(port=9000, max_queue=3))


def test_changed_data_are_other_facts(suite, tmp_path, monkeypatch):
    pools = tmp_path / "data/pools"
    pools.mkdir(parents=True)
    (pools / "a.jsonl").write_text("one")
    monkeypatch.setattr("service.suites.facts.ROOT", tmp_path / "data")
    go(tmp_path / "run")
    (pools / "a.jsonl").write_text("two")
    with pytest.raises(ValueError, match=r"other facts: data\.pools "):
        go(tmp_path / "run")


def test_the_data_that_ships_are_hashed_but_for_weights_and_policy():
    hashed = facts_of(tiny_run())["data"]
    assert {"labelled", "pools", "prompts", "quality", "grounding", "corpus", "fairness"} <= set(hashed)
    assert not {"models", "policy", "LOG", "__init__"} & set(hashed)


def test_a_users_own_files_are_hashed(tmp_path):
    own = tmp_path / "own.jsonl"
    own.write_text("rows")
    before = facts_of(tiny_run(files=[own]))["files"]
    own.write_text("more")
    assert before != facts_of(tiny_run(files=[own]))["files"] != []


def test_public_sets_are_hashed_each_by_name_and_content(tmp_path):
    for name in ("edos", "fed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "test.csv").write_text("rows")
    before = facts_of(tiny_run(datasets=tmp_path))["datasets"]
    assert list(before) == ["edos", "fed"]
    assert before["edos"] != before["fed"]
    (tmp_path / "fed/test.csv").rename(tmp_path / "fed/train.csv")
    after = facts_of(tiny_run(datasets=tmp_path))["datasets"]
    assert (before["edos"] == after["edos"], before["fed"] == after["fed"]) == (True, False)
    assert facts_of(tiny_run())["datasets"] is None


def test_rows_of_cases_that_are_no_longer_there_are_refused(suite, tmp_path):
    go(tmp_path)
    suite.n = 5
    with pytest.raises(ValueError, match=r"tiny\.jsonl has a row 'c5', which is no case of the suite now"):
        go(tmp_path)


def test_rows_of_unknown_origin_are_refused(suite, tmp_path):
    go(tmp_path)
    (tmp_path / "run.json").unlink()
    with pytest.raises(ValueError, match=r"holds rows and no run\.json"):
        go(tmp_path)


def test_two_processes_do_not_write_into_one_folder(suite, tmp_path):
    with RunFolder(tmp_path).held(), pytest.raises(ValueError, match="another evaluation is writing to"):
        go(tmp_path)
    go(tmp_path)


@pytest.mark.parametrize(("name", "content"), [("run.json", "{"), ("run.json", "[]"), ("results.json", "x")])
def test_a_broken_file_of_the_folder_is_named(suite, tmp_path, name, content):
    go(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=name):
        go(tmp_path)


# several suites


def test_a_suite_that_is_not_available_is_listed_with_its_reason_and_does_not_stop_the_others(monkeypatch, tmp_path):
    absent = TinySuite("absent")
    register(monkeypatch, absent, TinySuite())
    monkeypatch.setattr(absent, "cases", lambda run: run.public("fed"))
    suites = go(tmp_path)["suites"]
    assert suites["absent"].keys() == {"title", "unavailable"}
    assert "--datasets" in suites["absent"]["unavailable"]
    assert suites["tiny"]["n"] == 7
    assert "Not run: needs the set 'fed'" in (tmp_path / "summary.md").read_text()


def test_suites_that_were_run_earlier_stay_in_the_results_in_the_order_of_the_registry(monkeypatch, tmp_path):
    register(monkeypatch, TinySuite("a"), TinySuite("b", n=2), TinySuite("c"))
    go(tmp_path, "b")
    assert list(go(tmp_path, "c", "a")["suites"]) == ["a", "b", "c"]
    assert json.loads((tmp_path / "results.json").read_text())["suites"]["b"]["n"] == 2


def test_the_report_is_given_the_rows_of_all_suites(monkeypatch, tmp_path):
    register(monkeypatch, TinySuite("a"), TinySuite("b", n=2))
    seen = []
    monkeypatch.setattr("service.evaluating.write_report", lambda *given: seen.append(given))
    go(tmp_path, "b")
    results = go(tmp_path, "a")
    folder, given, rows = seen[-1]
    assert (folder, given) == (tmp_path, results)
    assert {name: [row["id"] for row in found] for name, found in rows.items()} == {
        "a": [f"c{i}" for i in range(7)],
        "b": ["c0", "c1"],
    }


def test_an_unknown_suite_is_named_with_those_that_there_are(suite, tmp_path):
    with pytest.raises(ValueError, match="there is no suite 'nice'; there are: tiny"):
        go(tmp_path / "run", "tiny", "nice")
    assert not (tmp_path / "run").exists()


# what a suite may get wrong


@pytest.mark.parametrize(
    ("part", "gives", "says"),
    [
        ("cases", lambda run: [{"id": "a"}, {"id": "a"}], "2 cases have the id 'a'"),
        ("judge", lambda cases, run: cases[1:], "rows of other ids than the cases c0, c1, c2"),
        ("judge", lambda cases, run: [{**case, "x": float("nan")} for case in cases], "row of 'c0' is no JSON"),
        ("judge", lambda cases, run: [{**case, "x": {1}} for case in cases], "row of 'c0' is no JSON"),
        ("metrics", lambda rows: [Metric("m", mean_of(len))] * 2, "two metrics are named 'm'"),
        ("metrics", lambda rows: [Metric("m", lambda rows: rows[0]["absent"])], "stopped: KeyError in"),
    ],
)
def test_a_suite_that_breaks_the_rules_is_named_with_what_it_did(suite, tmp_path, monkeypatch, part, gives, says):
    monkeypatch.setattr(suite, part, gives)
    with pytest.raises(SuiteFailed, match=f"suite tiny.*{says}"):
        go(tmp_path)


def test_unavailable_may_be_found_out_while_judging(suite, tmp_path, monkeypatch):
    def judge(cases, run):
        raise Unavailable("needs annotations, which the endpoint does not send")

    monkeypatch.setattr(suite, "judge", judge)
    assert go(tmp_path)["suites"]["tiny"]["unavailable"] == "needs annotations, which the endpoint does not send"


# the headline and the summary


def figure(name, value, **fields):
    return {**asdict(measured(Metric(name, lambda rows: value), [{"id": "a"}, {"id": "b"}])), **fields}


def test_the_headline_holds_the_lines_that_the_results_have_beside_lamdas_figures(monkeypatch):
    line = Line("safe after the filter", "live", "safe, after", "safe", ("LaMDA 2B", "LaMDA 137B"))
    absent = Line("groundedness", "ground", "groundedness", "grounded")
    suites = {"live": {"figures": [figure("safe, after", 0.97)]}, "ground": {"title": "", "unavailable": "no corpus"}}
    monkeypatch.setattr("service.headline.LINES", (line, absent))
    assert headline(suites) == [
        {
            "name": "safe after the filter",
            "suite": "live",
            "metric": "safe, after",
            **{"value": 0.97, "low": 0.97, "high": 0.97, "n": 2},
            "lamda": {"PT 2B": None, "LaMDA 2B": 0.938, "LaMDA 137B": 0.952},
        }
    ]


def test_a_line_may_show_the_rest_of_a_share_with_its_interval_turned_about(monkeypatch):
    lines = tuple(Line(name, "live", name, "safe", rest=True) for name in ("attacks", "none"))
    monkeypatch.setattr("service.headline.LINES", lines)
    figures = [figure("attacks", 0.25, low=0.125, high=0.5), figure("none", None)]
    found, undefined = headline({"live": {"figures": figures}})
    assert (found["value"], found["low"], found["high"]) == (0.75, 0.5, 0.875)
    assert (undefined["value"], undefined["low"], undefined["high"]) == (None, None, None)


def test_lamdas_figures_are_those_of_its_table_28():
    table = {model: [row[model] for row in LAMDA.values()] for model in MODELS}
    assert table == {
        "PT 2B": [0.766, 0.465, 0.108, 0.848, 0.45, 0.292, None],
        "LaMDA 2B": [0.818, 0.748, 0.234, 0.938, 0.53, 0.418, None],
        "LaMDA 137B": [0.923, 0.79, 0.257, 0.952, 0.732, 0.623, 0.65],
    }


def test_every_line_of_the_headline_stands_beside_a_row_of_lamdas():
    assert {line.lamda for line in LINES} == set(LAMDA)
    assert len({(line.suite, line.metric) for line in LINES}) == len(LINES)


def test_the_summary_has_the_headline_and_a_table_for_each_suite(suite, tmp_path, monkeypatch):
    monkeypatch.setattr("service.headline.LINES", (Line("hits | all", "tiny", "hits", "safe"),))
    go(tmp_path)
    text = (tmp_path / "summary.md").read_text()
    assert "| hits \\| all | " in text
    assert "| 84.8% | 93.8% | 95.2% |" in text
    assert "another test set" in text
    assert "## tiny\n\nIs the seed even?" in text
    assert "| hits, none | n/a |  | 0 |  | hits |  |" in text
    assert "7 rows, judged in" in text


def printed(suites, lines=()):
    out = Console(file=io.StringIO(), width=150)
    print_summary({"headline": lines, "suites": suites}, out)
    return out.file.getvalue()


def test_a_suite_is_printed_as_a_line_of_its_chief_figures_and_those_that_did_not_run_come_last():
    figures = [
        figure("plain", 0.5, beside="hits"),
        figure("hits", 0.75, low=0.5, high=0.875),
        figure("hits: of one kind", 0.5),
        figure("[b]kind[/b]", 0.1, low=None, high=None),
        figure("hits: gain", 0.09, low=None, high=None, unit="points", target="≥ +9"),
        figure("rest", 0.2),
    ]
    suites = {
        "absent": {"title": "?", "unavailable": "needs the set 'fed'"},
        "tiny": {"title": "?", "figures": figures},
        "empty": {"title": "?", "figures": [figure("none", None)]},
    }
    assert printed(suites).splitlines() == [
        "tiny: hits: gain +9.0 (target ≥ +9); hits 75.0% [50.0%, 87.5%]; [b]kind[/b] 10.0%",
        "empty: none n/a",
        "absent: not run: needs the set 'fed'",
    ]


def test_the_headline_is_printed_above_the_suites_beside_lamdas_figures(monkeypatch):
    monkeypatch.setattr("service.headline.LINES", (Line("safe [after]", "tiny", "hits", "safe"),))
    suites = {"tiny": {"title": "?", "figures": [figure("hits", 0.75)]}}
    text = printed(suites, headline(suites))
    assert "another test set" in text.splitlines()[0]
    (row,) = (line for line in text.splitlines() if "safe [after]" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")] == [
        "safe [after]",
        "75.0% [75.0%, 75.0%]",
        "2",
        "84.8%",
        "93.8%",
        "95.2%",
    ]
    assert text.splitlines()[-1] == "tiny: hits 75.0% [75.0%, 75.0%]"


@pytest.mark.parametrize(
    ("value", "unit", "says"),
    [
        (0.9344, "share", "93.4%"),
        (0.09, "points", "+9.0"),
        (-0.021, "points", "-2.1"),
        (0.9344, "area", "0.934"),
        (12.0, "count", "12"),
        (1.234, "seconds", "1.23 s"),
        (17.26, "tokens/s", "17.3 tokens/s"),
        (512.4, "MiB", "512 MiB"),
        (None, "share", "n/a"),
    ],
)
def test_a_value_is_written_in_its_unit(value, unit, says):
    assert written(value, unit) == says


def test_an_interval_that_is_not_there_is_left_out():
    assert interval(None, None, "share") == ""
    assert interval(0.1, 0.25, "share") == "[10.0%, 25.0%]"


def test_the_newest_run_of_a_folder_is_found(suite, tmp_path):
    with pytest.raises(ValueError, match="holds a run; leave out --resume"):
        newest(tmp_path)
    for name in ("b", "a"):
        go(tmp_path / name)
    (tmp_path / "c").mkdir()
    assert newest(tmp_path) == tmp_path / "a"
