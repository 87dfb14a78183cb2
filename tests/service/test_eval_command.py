import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.app import create_app
from service.cli import app
from service.suites import SUITES
from tests.service.scripted import make_corridor
from tests.service.serving import listening
from tests.service.suites.tiny import TinySuite, register


class AskingSuite(TinySuite):
    """Its rows are replies of the model under test."""

    def judge(self, cases, run):
        messages = [{"role": "user", "content": "Hello?"}]
        return [{**case, "hit": run.model.answer(messages, 9, 1).text == "Theirs."} for case in cases]


@pytest.fixture(autouse=True)
def suite(monkeypatch, tmp_path):
    """One suite over a scripted corridor, in a folder of the test's own."""
    made = TinySuite()
    register(monkeypatch, made)
    monkeypatch.setattr("service.suites.base.RESAMPLES", 40)
    monkeypatch.setattr("service.assembly.assemble", lambda settings: make_corridor())
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    return made


def run(*words):
    return CliRunner().invoke(app, ["eval", *(str(word) for word in words)])


def refusal(result):
    """The last line of a command that ended with exit code 2."""
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.stderr
    return result.stderr.strip().splitlines()[-1]


def results(folder):
    return json.loads((Path(folder) / "results.json").read_text())


def test_without_words_all_suites_are_run_into_a_folder_named_by_the_time():
    result = run()
    assert result.exit_code == 0, result.output
    (folder,) = Path("results").iterdir()
    assert results(folder)["suites"]["tiny"]["n"] == 7
    assert f"if stopped: winnow eval --output {folder}" in result.stderr
    (hits, *_) = (figure for figure in results(folder)["suites"]["tiny"]["figures"])
    assert result.stdout.startswith(f"tiny: hits {100 * hits['value']:.1f}% [")
    assert result.stdout.count("\n") == 1
    assert f"written to {folder}/report.html and {folder}/summary.md" in result.stderr


def test_only_the_suites_that_are_named_are_run(monkeypatch):
    register(monkeypatch, TinySuite("a"), TinySuite("b"), TinySuite("c"))
    assert run("c", "a", "-o", "out").exit_code == 0
    assert list(results("out")["suites"]) == ["a", "c"]


def test_seed_and_quick_go_into_the_run():
    assert run("--seed", 5, "--quick", "-o", "out").exit_code == 0
    assert (results("out")["run"]["seed"], results("out")["run"]["quick"]) == (5, True)
    assert "made with other facts: quick (true there, false now), seed (5 there, 0 now)" in refusal(run("-o", "out"))


def test_the_number_of_questions_goes_into_the_run():
    assert run("--questions", 5, "-o", "out").exit_code == 0
    assert results("out")["run"]["questions"] == 5


def test_the_same_command_goes_on_with_the_run_that_is_there(suite):
    assert run("-o", "out").exit_code == 0
    rows = Path("out/rows/tiny.jsonl")
    rows.write_bytes(rows.read_bytes()[:100])
    suite.judged.clear()
    result = run("-o", "out")
    assert result.exit_code == 0
    assert "going on with out" in result.stderr
    assert len(suite.judged) == 7
    assert rows.read_bytes().count(b"\n") == 7


def test_resume_alone_goes_on_with_the_newest_run():
    assert refusal(run("--resume")).startswith("error: no folder in results holds a run")
    assert run("-o", "results/b").exit_code == 0
    assert run("-o", "results/a").exit_code == 0
    assert "going on with results/a" in run("--resume").stderr


def test_a_run_is_not_gone_on_with_where_that_is_not_wanted():
    assert run("--no-resume", "-o", "out").exit_code == 0
    assert refusal(run("--no-resume", "-o", "out")).startswith("error: out holds a run; name another folder")
    assert refusal(run("--resume", "-o", "new")) == "error: new holds no run that could go on"


def test_a_suite_that_fails_ends_the_run_with_one_line_and_how_to_go_on(suite, monkeypatch):
    def failing(cases, run):
        raise RuntimeError("secret")

    monkeypatch.setattr(suite, "judge", failing)
    result = run("-o", "out")
    assert refusal(result).endswith("the same command with --output out goes on from them")
    assert "error: suite tiny stopped: RuntimeError in failing" in result.stderr
    assert "secret" not in result.output


def test_an_unknown_suite_is_named_with_those_that_there_are():
    assert refusal(run("nice")) == "error: 'nice' is neither a suite (tiny) nor a file"
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("tiny", "own.jsonl"), "tiny cannot be run on files (own.jsonl); classify and pick can"),
        (
            ("tiny", "--split", "test"),
            "--split and --public go with a FILE of labelled exchanges; suites take --datasets",
        ),
        (
            ("own.jsonl", "--endpoint", "http://x"),
            "--endpoint goes with suites, not with a FILE; its public sets are named with --public",
        ),
        (
            ("own.jsonl", "--datasets", "."),
            "--endpoint goes with suites, not with a FILE; its public sets are named with --public",
        ),
        (("own.jsonl", "--public", "absent"), "--public names absent, which is no folder"),
        (("own.jsonl", "--split", "dev"), "--split is 'dev'; allowed: train, calibration, validation, test"),
        (("absent.jsonl",), "[Errno 2] No such file or directory: 'absent.jsonl'"),
        (("empty",), "empty holds no .jsonl file"),
        (("bad.jsonl",), "bad.jsonl:1: field 'reply' must be a non-empty string"),
        (("tiny", "--questions", 3), "--questions goes with the suite ground"),
        (("own.jsonl", "--questions", 3), "--questions goes with the suite ground"),
        (("--datasets", "absent"), "--datasets names absent, which is no folder"),
        (("--endpoint", "localhost"), "--endpoint is 'localhost', not an address like http://localhost:8000/v1"),
        (("compare", "a"), "compare takes two folders of runs, not 1: winnow eval compare A B"),
        (("compare", "a", "b"), "a holds no run.json: no run of `winnow eval`"),
    ],
)
def test_options_that_do_not_go_together_are_refused_before_anything_is_loaded(words, says, monkeypatch):
    monkeypatch.setattr("service.assembly.assemble", lambda settings: pytest.fail("something was loaded"))
    Path("own.jsonl").write_text('{"id": "a", "reply": "x", "labels": []}\n')
    Path("bad.jsonl").write_text('{"labels": []}')
    Path("empty").mkdir()
    assert refusal(run(*words)) == f"error: {says}"
    assert not Path("results").exists()


# files of labelled exchanges

EXCHANGES = (
    {"id": "a", "reply": "A rude reply.", "labels": ["hate"]},
    {"id": "b", "reply": "A bomb.", "labels": ["weapons"]},
    {"id": "c", "reply": "Tea.", "labels": []},
)


@pytest.fixture
def own(monkeypatch, tmp_path):
    """A user's file; the suite that judges it; and a few exchanges of ours, from which the baseline learns."""
    ours = [
        {
            "id": f"{word} {i}",
            "reply": f"{word} words",
            "context": [{"role": "user", "content": str(i)}],
            "labels": [] if word == "tea" else ["hate"],
        }
        for word in ("rude", "tea")
        for i in range(30)
    ]
    for name, rows in (("ours", ours), ("own", EXCHANGES)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setitem(SUITES, "classify", "service.suites.classify")
    monkeypatch.setattr("service.suites.classify.LABELLED", tmp_path / "ours.jsonl")
    scores = {"rude": {"hate": 0.9}, "bomb": {"weapons": 0.4}}
    monkeypatch.setattr("service.assembly.assemble", lambda settings: make_corridor(scores=scores))
    return Path("own.jsonl")


def test_a_file_of_labelled_exchanges_is_judged_by_the_suite_classify_in_a_folder_of_its_own(own):
    result = run(own, "-o", "out")
    assert result.exit_code == 0, result.output
    assert list(results("out")["suites"]) == ["classify"]
    figures = {figure["name"]: figure["value"] for figure in results("out")["suites"]["classify"]["figures"]}
    assert (figures["recall"], figures["over-refusal"], figures["objective hate: recall"]) == (1 / 2, 0.0, 1.0)
    assert "| recall | 50.0% |" in Path("out/summary.md").read_text()
    assert "over-refusal" in Path("out/report.html").read_text()
    assert "classify: " in result.stdout


def test_a_folder_of_exchanges_is_judged_in_the_split_alone_that_is_asked_for(own, tmp_path):
    (tmp_path / "folder").mkdir()
    rows = [{"id": str(i), "reply": f"Tea {i}.", "labels": []} for i in range(40)]
    (tmp_path / "folder/a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run("folder", "--split", "train", "-o", "out").exit_code == 0
    assert 0 < results("out")["suites"]["classify"]["n"] < 40
    assert "other facts: split (train there, null now)" in refusal(run("folder", "-o", "out"))


def test_a_file_goes_through_the_gate_and_its_run_goes_on_while_it_is_the_same(own):
    Path("gate.toml").write_text("[classify.recall]\nat_least = 0.9\n")
    result = run(own, "--gate", "gate.toml", "-o", "out")
    assert result.exit_code == 1
    assert "gate: classify, recall is 50.0%, under the floor of 90.0%" in result.stderr
    assert "going on with out" in run(own, "--resume", "-o", "out").stderr
    own.write_text(json.dumps(EXCHANGES[0]))
    assert "made with other facts: files" in refusal(run(own, "-o", "out"))


# the endpoint


def test_another_server_is_the_model_under_test(monkeypatch):
    register(monkeypatch, AskingSuite())
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with listening(create_app(make_corridor(["Theirs."]))) as url:
        result = run("--endpoint", url, "--model", "default", "-o", "out")
    assert result.exit_code == 0, result.output
    assert (results("out")["run"]["model"], results("out")["run"]["endpoint"]) == ("default", url)
    assert results("out")["suites"]["tiny"]["figures"][0]["value"] == 1.0
    for path in Path("out").rglob("*"):
        assert not path.is_file() or b"sk-secret" not in path.read_bytes()
    assert run("-o", "own").exit_code == 0
    assert (results("own")["run"]["endpoint"], results("own")["suites"]["tiny"]["figures"][0]["value"]) == (None, 0.0)


def test_without_an_endpoint_the_model_is_that_of_the_corridor(monkeypatch):
    seen = []
    monkeypatch.setattr("service.assembly.assemble", lambda settings: seen.append(settings) or make_corridor())
    assert run("--model", "mine", "--policy", "strict", "--index", "idx", "-o", "out").exit_code == 0
    assert [(s.model, s.policy, s.index) for s in seen] == [("mine", "strict", Path("idx"))]


# the gate


def gated(text, *words):
    Path("gate.toml").write_text(text)
    return run("--gate", "gate.toml", "-o", "out", *words)


def test_a_metric_under_its_floor_is_named_and_the_exit_code_is_one():
    result = gated('[tiny.hits]\nat_least = 1.01\n[tiny."hits, odd"]\nat_most = -1\n')
    assert result.exit_code == 1
    assert "gate: tiny, hits is " in result.stderr
    assert ", under the floor of 101.0%" in result.stderr
    assert "gate: tiny, hits, odd is " in result.stderr
    assert Path("out/results.json").exists()


def test_figures_that_hold_their_floors_end_with_exit_code_zero():
    result = gated("[tiny.hits]\nat_least = 0\nat_most = 1\n")
    assert result.exit_code == 0
    assert "gate" not in result.stderr


@pytest.mark.parametrize(
    ("text", "says", "ran"),
    [
        ("[nice.x]\nat_least = 1", "gate.toml: there is no suite 'nice' in this run; there are: tiny", False),
        ("[tiny.x]\nat_least = 1", "the gate cannot be decided: tiny, x: no such metric; there are: hits,", True),
        ('[tiny."hits, none"]\nat_least = 0', "tiny, hits, none: not defined on these rows (n 0)", True),
    ],
)
def test_a_gate_that_cannot_be_decided_ends_with_exit_code_two(text, says, ran):
    assert says in refusal(gated(text))
    assert Path("out").exists() == ran


# compare


def test_two_runs_are_compared_as_a_table_and_as_json():
    for folder in ("a", "b"):
        assert run("-o", folder).exit_code == 0
    result = run("compare", "a", "b", "--output", "deep/ab.json")
    assert result.exit_code == 0, result.output
    assert "tiny (differences on common rows" in result.stdout
    rows = json.loads(Path("deep/ab.json").read_text())["suites"]["tiny"]
    assert [(row["name"], row["difference"]) for row in rows[:2]] == [("hits", 0.0), ("hits, even", 0.0)]


def test_runs_of_other_seeds_are_compared_only_where_that_is_wanted():
    assert run("-o", "a").exit_code == 0
    assert run("-o", "b", "--seed", 1).exit_code == 0
    assert "seed differ; --anyway" in refusal(run("compare", "a", "b"))
    assert run("compare", "a", "b", "--anyway").exit_code == 0


def test_the_names_of_suites_are_no_names_of_the_commands_own():
    assert "compare" not in SUITES
