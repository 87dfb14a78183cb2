import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from classifiers import Place, Safety, Scores, Support, load_policy
from data import POLICY
from retrieval import Index
from service.assembly import load_generator
from service.cli import app
from service.decisions import Decision
from service.settings import Settings
from tests.service.scripted import GLAD, JudgingSafety, ScriptedGenerator, make_corridor, scores_of

COMMANDS = typer.main.get_command(app).commands


EVEN = "thresholds = { strict = 0.3, balanced = 0.5, permissive = 0.7 }"


class OverallSafety(JudgingSafety):
    """The scripted classifier; the overall score is the highest of the objectives'."""

    def _row(self, reply):
        row = super()._row(reply)
        return Scores(row, unsafe=max(row.values()), places={})


@pytest.fixture(autouse=True)
def _nothing_is_loaded(monkeypatch, tmp_path):
    """The scripted classifier under the policy that is asked for, in a folder of the test's own.

    The shipped policy has even thresholds here, so that no test moves when the true ones are calibrated anew.
    """
    shipped = tmp_path / "shipped" / "policy.toml"
    shipped.parent.mkdir()
    shipped.write_text(re.sub(r"(?m)^thresholds = .*$", EVEN, POLICY.read_text()))
    monkeypatch.setattr("classifiers.policy.POLICY", shipped)

    def load(policy=None):
        return OverallSafety({"bomb": {"weapons": 0.4}, "rude": {"hate": 0.9}}, load_policy(policy))

    monkeypatch.setattr(Safety, "load", load)
    monkeypatch.setattr(
        "service.assembly.LocalGenerator.load", lambda name, limit, precision: ScriptedGenerator([GLAD], limit)
    )
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def run(*words, **options):
    return CliRunner().invoke(app, [str(word) for word in words], **options)


def refusal(result):
    """The one clear line of a command that ended with exit code 2 and wrote nothing else."""
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.strip() and "━" not in line]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


def written(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


# --help


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_says_what_it_does_and_has_one_example_that_can_be_run(name):
    shown = " ".join(run(name, "--help").output.replace("│", " ").split())
    command = COMMANDS[name]
    assert " ".join(command.help.split()) in shown
    assert shown.count("Example: ") == 1
    example = shown.split("Example: ")[1]
    for line in example.split(", then "):
        program, which, *words = shlex.split(line)
        assert program == "winnow"
        COMMANDS[which].make_context(which, words)  # raises where an option or an argument does not exist
    assert example.startswith(f"winnow {name}")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_explained(name):
    for parameter in COMMANDS[name].params:
        assert parameter.help or parameter.name == "help", parameter.name


def test_without_a_command_the_commands_are_listed():
    shown = run().output
    assert all(name in shown for name in ("serve", "chat", "screen", "eval", "calibrate", "index", "train"))


# index


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "tea.md").write_text("# Tea\n\nTea is a drink made from leaves.")
    (folder / "broken.jsonl").write_text('{"text": "Bees make honey."}\n{"text": \n{"title": "no text"}\n')
    (folder / "binary.txt").write_bytes(b"\x00\x01\x02")
    return folder


def test_index_names_what_it_skips_and_why_and_indexes_the_rest(notes, tmp_path):
    result = run("index", notes, "--output", tmp_path / "made")
    assert result.exit_code == 0
    skipped = [line for line in result.stderr.splitlines() if line.startswith("skipped ")]
    assert [line.split(": ")[0] for line in skipped] == [
        f"skipped {notes / 'binary.txt'}",
        f"skipped {notes / 'broken.jsonl'}",
        f"skipped {notes / 'broken.jsonl'}",
    ]
    assert "binary" in skipped[0].split(": ", 1)[1]
    assert "line 2: bad JSON" in skipped[1]
    assert 'line 3: missing field "text"' in skipped[2]
    assert f"{tmp_path / 'made'}: 2 documents, 2 passages, 3 skipped" in result.stderr
    index = Index.load(tmp_path / "made")
    assert [index.search(q)[0].passage.document_id for q in ("drink from leaves", "honey")] == ["tea", "broken:1"]


def test_a_folder_name_in_brackets_is_printed_as_it_is(notes):
    result = run("index", notes, "-o", "[b]made[/i]")
    assert result.exit_code == 0
    assert "[b]made[/i]: 2 documents" in result.stderr


def test_index_refuses_when_nothing_can_be_read(tmp_path):
    (tmp_path / "empty").mkdir()
    result = run("index", "empty")
    assert result.exit_code == 2
    assert "error: no documents were found in empty; looked for .md, " in result.stderr
    assert not Path("winnow-index").exists()


def test_index_names_a_path_that_does_not_exist():
    assert refusal(run("index", "absent")) == "error: no such file or folder: absent"


def test_index_does_not_write_over_other_files(notes):
    result = run("index", notes / "tea.md", "--output", notes)
    assert "error: " in result.stderr
    assert result.exit_code == 2
    assert (notes / "tea.md").exists()


def test_index_reads_again_only_what_changed_and_counts_it(notes, tmp_path):
    run("index", notes, "-o", "made")
    (notes / "tea.md").write_text("# Tea\n\nTea is grown in the hills.")
    (notes / "salt.txt").write_text("Salt is a mineral.")
    result = run("index", notes, "-o", "made", "--engine", "bm25s")
    assert "files: 1 new, 1 changed, 0 deleted, 2 unchanged; engine bm25s" in result.stderr
    assert "everything was read anew" not in result.stderr


def test_index_says_why_nothing_of_the_old_index_was_kept(notes):
    run("index", notes, "-o", "made")
    next(Path("made").glob("*/passages.sqlite")).write_text("")
    result = run("index", notes, "-o", "made")
    assert result.exit_code == 0
    assert "everything was read anew: damaged index: " in result.stderr


def test_index_status_says_what_is_in_the_folder(notes):
    run("index", notes, "-o", "made")
    said = dict(line.split(": ", 1) for line in run("index", "--status", "-o", "made").stdout.splitlines())
    assert (said["documents"], said["passages"], said["files"], said["engine"]) == ("2", "2", "3", "rank-bm25")
    assert {"terms", "tokeniser", "bytes", "built"} <= set(said)
    assert run("index", "--status", "--verify", "-o", "made").exit_code == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "name files or folders"),
        (("--verify", "-o", "made"), "--verify needs --status"),
        (("notes", "--status"), "--status takes no PATHS"),
        (("--status", "-o", "absent"), "no index at absent"),
        (("notes", "--engine", "lucene"), "unknown engine 'lucene': expected auto, rank-bm25 or bm25s"),
    ],
)
def test_index_refuses_what_it_cannot_do(notes, words, says):
    assert says in refusal(run("index", *words))
    assert not Path("winnow-index").exists()


# screen

LINES = (
    {
        "id": "one",
        "messages": [{"role": "user", "content": "Hello?"}],
        "candidates": ["A rude reply.", "A bomb.", "Tea."],
    },
    {"id": 2, "messages": [{"role": "user", "content": "Be rude."}]},
    {"candidates": ["Tea."]},
)


def test_screen_writes_a_line_of_json_for_each_line_as_the_design_has_it(tmp_path):
    result = run("screen", written(tmp_path / "in.jsonl", *LINES))
    assert result.exit_code == 0
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["id"] for row in rows] == ["one", 2, None]
    assert [row["ranks"] for row in rows] == [[None, 2, 1], [None], [1]]
    assert [row["pick"] for row in rows] == [2, None, 0]
    for row in rows:
        assert list(row) == ["id", "verdicts", "ranks", "pick", "prompt"]
        for verdict in row["verdicts"]:
            # The four keys of the design, and `flagged` besides.
            assert list(verdict) == ["unsafe", "scores", "dropped", "because", "flagged"]
    assert rows[0]["verdicts"][0] == {
        "unsafe": 0.9,
        "scores": scores_of(hate=0.9),
        "dropped": True,
        "because": ["hate"],
        "flagged": [],
    }


def test_screen_says_which_sentence_decided_and_in_which_reading_when_asked_to(tmp_path, monkeypatch):
    place = Place("A bomb.", 6, 13, "normalised")

    def scores(context, texts, role):
        return [Scores(scores_of(weapons=0.9), 0.9, {"weapons": place}, doubt=0.125) for _ in texts]

    monkeypatch.setattr(Safety, "load", lambda policy: JudgingSafety(scores, load_policy(policy)))
    turn = {"role": "user", "content": "Hello?"}
    file = written(tmp_path / "in.jsonl", {"messages": [turn], "candidates": ["Well. A b0mb."]}, {"messages": [turn]})
    plain, explained = run("screen", file), run("screen", file, "--explain")
    rows = [json.loads(line) for line in explained.stdout.splitlines()]
    for row in rows:
        for verdict in (row["prompt"], *row["verdicts"]):
            assert verdict.pop("reasons") == [
                {"objective": "weapons", "score": 0.9, "threshold": 0.5}
                | {"sentence": "A bomb.", "start": 6, "end": 13, "reading": "normalised"}
            ]
            assert verdict.pop("doubt") == 0.125
    assert [json.loads(line) for line in plain.stdout.splitlines()] == rows
    assert len(rows) == 2


def test_screen_explains_as_far_as_the_scorer_can_tell(tmp_path):
    row = json.loads(run("screen", written(tmp_path / "in.jsonl", {"candidates": ["A bomb."]}), "--explain").stdout)
    assert row["verdicts"][0]["reasons"] == [{"objective": "weapons", "score": 0.4, "threshold": 0.5}]


def test_screen_judges_by_the_policy_it_is_given(tmp_path):
    file = written(tmp_path / "in.jsonl", {"candidates": ["A bomb."]})
    assert json.loads(run("screen", file).stdout)["pick"] == 0
    assert json.loads(run("screen", file, "--policy", "strict").stdout)["pick"] is None
    own = tmp_path / "own.toml"
    own.write_text("[objectives.weapons]\nthreshold = 0.2\n")
    row = json.loads(run("screen", file, "--policy", own).stdout)
    assert row["verdicts"][0]["because"] == ["weapons"]


def test_screen_takes_the_policy_of_the_settings_when_none_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("WINNOW_POLICY", "strict")
    assert json.loads(run("screen", written(tmp_path / "in.jsonl", {"candidates": ["A bomb."]})).stdout)["pick"] is None


def test_screen_writes_to_a_file_when_told_to(tmp_path):
    result = run("screen", written(tmp_path / "in.jsonl", *LINES), "-o", tmp_path / "out.jsonl")
    assert result.stdout == ""
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "in.jsonl:1: not JSON"),
        (b'{"candidates": ["x"]}\n{"candidates": []}', "in.jsonl:2: field 'candidates'"),
        (b'{"id": 1}', "in.jsonl:1: a line needs 'candidates'"),
        (b"\xff\xfe", "in.jsonl:1: not UTF-8"),
    ],
)
def test_screen_refuses_a_bad_file_before_it_judges_a_line(tmp_path, content, says):
    (tmp_path / "in.jsonl").write_bytes(content)
    assert says in refusal(run("screen", tmp_path / "in.jsonl"))


def test_screen_names_a_file_that_is_not_there_and_a_folder_in_its_place(tmp_path):
    assert "absent.jsonl" in refusal(run("screen", "absent.jsonl"))
    assert str(tmp_path) in refusal(run("screen", tmp_path))


def test_screen_names_an_output_that_cannot_be_written(tmp_path):
    file = written(tmp_path / "in.jsonl", *LINES)
    assert "no/such/out.jsonl" in refusal(run("screen", file, "-o", "no/such/out.jsonl"))


# eval

EXCHANGES = ({"id": "a", "reply": "Tea.", "labels": []},)


@pytest.fixture
def nothing_may_load(monkeypatch):
    """Arguments are looked at before anything is loaded or read."""

    def refuse(*args, **options):
        raise AssertionError("something was loaded")

    monkeypatch.setattr(Safety, "load", refuse)
    monkeypatch.setattr("service.targets.safety_targets", refuse)
    monkeypatch.setattr("service.calibrating.learn_objective", refuse)
    monkeypatch.setattr("classifiers.training.train", refuse)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--targets",), "--targets needs --public FOLDER and takes no FILE"),
        (("own.jsonl", "--targets"), "--targets needs --public FOLDER and takes no FILE"),
        (("own.jsonl", "--targets", "--public", "sets"), "--targets needs --public FOLDER and takes no FILE"),
        (("--public", "sets"), "--split and --public go with a FILE of labelled exchanges; suites take --datasets"),
    ],
)
def test_eval_takes_either_a_file_or_the_targets_with_the_public_sets(tmp_path, nothing_may_load, words, says):
    written(tmp_path / "own.jsonl", *EXCHANGES)
    (tmp_path / "sets").mkdir()
    assert refusal(run("eval", *words)) == f"error: {says}"
    assert not Path("results").exists()


def test_eval_targets_names_the_public_sets_that_are_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("service.targets.read_labelled", lambda path: [])
    (tmp_path / "sets").mkdir()
    line = refusal(run("eval", "--targets", "--public", "sets"))
    assert "sets lacks " in line
    assert "thu-coai/DiaSafety" in line
    assert not Path("results").exists()


def test_eval_targets_judges_under_the_policy_asked_for_and_writes_and_prints_the_table(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    seen = []

    def targets(safety, public, progress, command):
        seen.append((safety.policy.preset, public, command))
        with progress("judging", 2) as advance:
            advance(2)
        figure = {"value": 0.9, "low": 0.8, "high": 0.95, "n": 2, "prevalence": 0.5}
        rows = [{"name": "contrast prompts", "target": "≥ .92", **figure, "baseline": "n/a"}]
        return {"command": command, "policy": safety.policy.preset, "safety": "scripted-1", "rows": rows}

    monkeypatch.setattr("service.targets.safety_targets", targets)
    result = run("eval", "--targets", "--public", "sets", "--policy", "strict", "-o", "results/targets.json")
    assert result.exit_code == 0
    assert seen == [("strict", Path("sets"), "winnow eval --targets --public PATH")]
    assert json.loads(Path("results/targets.json").read_text())["rows"][0]["value"] == 0.9
    assert "contrast prompts" in result.stdout
    assert "written to results/targets.json" in result.stderr


# calibrate


def own_rows(unsafe=60, safe=20):
    """Rows that the scripted classifier tells apart: hate .9, and nothing above .01."""
    return [
        *({"id": f"u{i}", "reply": f"A rude reply {i}.", "labels": ["hate"]} for i in range(unsafe)),
        *({"id": f"s{i}", "reply": f"Tea {i}.", "labels": []} for i in range(safe)),
    ]


def test_calibrate_writes_a_policy_that_can_be_served_and_the_table_and_prints_it(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    file = written(tmp_path / "own.jsonl", *own_rows(), {"id": "b", "reply": "A rude word.", "labels": []})
    result = run("calibrate", file, "--output", "made/own.toml")
    assert result.exit_code == 0
    policy, table = load_policy("made/own.toml"), json.loads(Path("made/own.json").read_text())
    assert table["balanced"]["hate"]["certified"] is True
    assert policy.objectives["hate"].threshold == table["balanced"]["hate"]["threshold"]
    assert 0.89 < policy.objectives["hate"].threshold <= 0.9
    assert {o.threshold for o in policy.objectives.values()} == {policy.objectives["hate"].threshold}
    printed = " ".join(result.stdout.replace("│", " ").split())
    assert "confidence 95%" in printed
    assert "all balanced 10%" in printed
    assert "hate balanced 10%" in printed
    assert "written to made/own.toml and made/own.json" in result.stderr
    candidates = written(tmp_path / "in.jsonl", {"candidates": ["A rude reply."]})
    assert json.loads(run("screen", candidates, "--policy", "made/own.toml").stdout)["pick"] is None


def test_calibrate_promises_less_with_less_confidence(tmp_path):
    file = written(tmp_path / "own.jsonl", *own_rows(unsafe=45))
    certified = []
    for confidence in (0.95, 0.9):
        output = f"{confidence}.made.toml"
        assert run("calibrate", file, "--confidence", confidence, "--output", output).exit_code == 0
        certified.append(json.loads(Path(output).with_suffix(".json").read_text())["strict"]["hate"]["certified"])
    assert certified == [False, True]  # 59 rows are needed for 95%, 45 for 90%


@pytest.mark.parametrize("confidence", [0, 1, 1.5, -1, "nan"])
def test_calibrate_refuses_a_confidence_that_is_none(tmp_path, nothing_may_load, confidence):
    file = written(tmp_path / "own.jsonl", *own_rows())
    line = refusal(run("calibrate", file, "--confidence", confidence))
    assert line == f"error: the confidence must lie between 0 and 1, not {confidence}"
    assert not Path("winnow-policy.toml").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "own.jsonl:1: not JSON"),
        ('{"reply": "x", "labels": ["nice"]}', "unknown objective 'nice'"),
        ('{"reply": "x", "labels": []}', "own.jsonl holds no unsafe exchange"),
        ("", "own.jsonl holds no unsafe exchange"),
    ],
)
def test_calibrate_refuses_a_file_without_anything_to_calibrate_on(tmp_path, nothing_may_load, content, says):
    (tmp_path / "own.jsonl").write_text(content)
    assert says in refusal(run("calibrate", tmp_path / "own.jsonl"))
    assert not Path("winnow-policy.toml").exists()


def test_calibrate_names_a_file_that_is_not_there(nothing_may_load):
    assert "absent.jsonl" in refusal(run("calibrate", "absent.jsonl"))


def test_calibrate_does_not_write_over_a_policy(tmp_path, nothing_may_load):
    file = written(tmp_path / "own.jsonl", *own_rows())
    Path("winnow-policy.toml").write_text("# mine\n")
    line = refusal(run("calibrate", file))
    assert line == "error: winnow-policy.toml exists; name another file with --output"
    assert Path("winnow-policy.toml").read_text() == "# mine\n"


def test_calibrate_does_not_write_over_what_stands_beside_the_policy(tmp_path, nothing_may_load):
    file = written(tmp_path / "own.jsonl", *own_rows())
    Path("winnow-policy.json").write_text("mine")
    assert "winnow-policy.json exists" in refusal(run("calibrate", file))
    assert Path("winnow-policy.json").read_text() == "mine"
    assert not Path("winnow-policy.toml").exists()


def test_calibrate_does_not_name_the_policy_as_the_table_beside_it(tmp_path, nothing_may_load):
    file = written(tmp_path / "own.jsonl", *own_rows())
    line = refusal(run("calibrate", file, "-o", "own.json"))
    assert line == "error: own.json is to be a policy, in TOML; name a .toml file with --output"
    assert not Path("own.json").exists()


# train


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--objective", "no_dosage"), "--objective needs a file of labelled examples"),
        (("own.jsonl",), "examples are given without --objective NAME"),
        (("own.jsonl", "--seed", "1"), "examples are given without --objective NAME"),
    ],
)
def test_train_takes_examples_and_the_name_of_an_objective_together(tmp_path, nothing_may_load, words, says):
    written(tmp_path / "own.jsonl", *own_rows())
    assert says in refusal(run("train", *words))


@pytest.mark.parametrize("name", ["", "x", "No_Dosage", "no-dosage", "1st", "no dosage", "a" * 41])
def test_train_refuses_a_name_that_no_policy_could_hold(tmp_path, monkeypatch, name):
    def refuse(*args):
        raise AssertionError("something was loaded")

    monkeypatch.setattr(Safety, "load", refuse)
    file = written(tmp_path / "own.jsonl", *own_rows())
    line = refusal(run("train", file, "--objective", name))
    assert line == (f"error: --objective is {name!r}; a name has 2 to 40 lower-case letters, digits and underscores")
    assert not Path("winnow-policy.toml").exists()


def test_train_refuses_examples_with_labels_that_are_neither_shipped_nor_the_objective(tmp_path):
    file = written(tmp_path / "own.jsonl", {"reply": "x", "labels": ["no_dosage"]}, {"reply": "y", "labels": ["nice"]})
    assert "own.jsonl:2: unknown objective 'nice'" in refusal(run("train", file, "--objective", "no_dosage"))
    assert "absent.jsonl" in refusal(run("train", "absent.jsonl", "--objective", "no_dosage"))


@pytest.mark.parametrize(
    ("words", "folder", "policy"),
    [
        ((), "winnow-objectives", "winnow-policy.toml"),
        (("-o", "heads", "--policy", "own.toml"), "heads", "own.toml"),
    ],
)
def test_train_of_an_objective_hands_over_where_it_goes_and_prints_the_figure(monkeypatch, words, folder, policy):
    seen = []

    def learn(name, file, to, entry, progress):
        seen.append((name, file, to, entry))
        progress(3)
        return {"examples": 50, "auroc": {"value": 0.9, "low": 0.8, "high": 0.95}}

    monkeypatch.setattr("service.calibrating.learn_objective", learn)
    result = run("train", "examples.jsonl", "--objective", "no_dosage", *words)
    assert result.exit_code == 0
    assert seen == [("no_dosage", Path("examples.jsonl"), Path(folder), Path(policy))]
    said = f"50 examples; card in {folder}/no_dosage, entry in {policy}"
    assert "no_dosage: AUROC 0.900 [0.800, 0.950] by cross-validation over" in result.stderr
    assert said in result.stderr


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """What the whole training was called with; it writes thresholds of .25. The shipped weights and policy are copies."""
    calls = []

    def train(datasets, labelled, target, seed, progress, out):
        calls.append((datasets, labelled, target, seed))
        target.mkdir(parents=True, exist_ok=True)
        rows = {name: {"threshold": 0.25} for name in load_policy().objectives}
        table = dict.fromkeys(("strict", "balanced", "permissive"), rows)
        (target / "thresholds.json").write_text(json.dumps(table))

    monkeypatch.setattr("classifiers.training.train", train)
    monkeypatch.setattr("classifiers.safety.SHIPPED", tmp_path / "shipped" / "weights")
    monkeypatch.setattr("data.POLICY", tmp_path / "shipped" / "policy.toml")
    monkeypatch.setattr("data.LABELLED", tmp_path / "shipped" / "labelled")
    return calls


def test_train_as_shipped_sets_the_thresholds_of_the_shipped_policy(trained, tmp_path):
    result = run("train", "--datasets", "sets", "--seed", 3)
    assert result.exit_code == 0
    shipped = tmp_path / "shipped"
    assert trained == [(Path("sets"), shipped / "labelled", shipped / "weights", 3)]
    assert {o.threshold for o in load_policy().objectives.values()} == {0.25}
    assert f"written to {shipped / 'weights'}" in result.stderr


def test_thresholds_are_set_anew_without_training_and_go_into_the_shipped_policy(trained, monkeypatch, tmp_path):
    calls = []

    def recertify(datasets, labelled, folder, progress):
        calls.append((datasets, labelled, folder))
        folder.mkdir(parents=True, exist_ok=True)
        rows = {name: {"threshold": 0.125} for name in load_policy().objectives}
        table = dict.fromkeys(("strict", "balanced", "permissive"), rows)
        (folder / "thresholds.json").write_text(json.dumps(table))

    monkeypatch.setattr("classifiers.recertifying.recertify", recertify)
    assert run("train", "--thresholds", "--datasets", "sets").exit_code == 0
    assert (trained, len(calls)) == ([], 1)
    assert calls[0][0] == Path("sets")
    assert load_policy("strict").objectives["hate"].threshold == 0.125
    assert "one at a time" in refusal(run("train", "--thresholds", "--quality"))


def test_train_elsewhere_leaves_the_shipped_policy_as_it_is(trained, tmp_path):
    assert run("train", "--datasets", "sets", "--labelled", "mine", "-o", "weights").exit_code == 0
    assert trained == [(Path("sets"), Path("mine"), Path("weights"), 0)]
    assert {o.threshold for o in load_policy().objectives.values()} == {0.5}


@pytest.mark.parametrize(
    ("words", "labelled", "folder"),
    [((), "shipped-labelled", "shipped-quality"), (("--labelled", "mine", "-o", "weights"), "mine", "weights")],
)
def test_train_of_the_quality_ranker_leaves_the_safety_classifier_alone(
    trained, monkeypatch, tmp_path, words, labelled, folder
):
    calls = []
    monkeypatch.setattr("classifiers.quality_training.train_quality", lambda *given: calls.append(given[:5]))
    monkeypatch.setattr("classifiers.quality.SHIPPED_QUALITY", Path("shipped-quality"))
    monkeypatch.setattr("data.LABELLED", Path("shipped-labelled"))
    monkeypatch.setattr("data.QUALITY", Path("rated"))
    result = run("train", "--quality", "--datasets", "sets", "--seed", 3, *words)
    assert result.exit_code == 0
    assert calls == [(Path("sets"), Path(labelled), Path("rated/replies.jsonl"), Path(folder), 3)]
    assert trained == []
    assert f"written to {folder}" in result.stderr


def test_train_of_two_at_a_time_is_refused():
    assert "one at a time" in refusal(run("train", "--quality", "--grounding"))


def test_train_of_the_second_judge_hands_over_the_sets_and_the_pools(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr("data.POOLS", tmp_path)
    monkeypatch.setattr("classifiers.judge_training.train_judge", lambda *args, advance: calls.append(args))
    result = run("train", "--judge", "--datasets", "sets", "-o", "there")
    assert result.exit_code == 0
    assert calls == [(Path("sets"), tmp_path / "pools.jsonl", Path("there"))]
    assert "written to there" in result.stderr


# serve and chat, and what every command refuses


@pytest.fixture
def served(monkeypatch):
    """What `serve` handed to uvicorn."""
    calls = []
    monkeypatch.setattr("uvicorn.run", lambda web, **options: calls.append((web, options)))
    return calls


def test_serve_prints_a_request_that_can_be_tried_and_listens_where_told(served, monkeypatch):
    monkeypatch.setattr(
        "service.assembly.assemble", lambda settings: make_corridor(policy=load_policy(settings.policy))
    )
    result = run("serve", "--port", 8123, "--host", "127.0.0.2", "--policy", "strict")
    assert result.exit_code == 0
    ((web, options),) = served
    assert (options["host"], options["port"]) == ("127.0.0.2", 8123)
    assert "/v1/chat/completions" in {route.path for route in web.routes if hasattr(route, "path")}
    assert "curl http://127.0.0.2:8123/v1/chat/completions" in result.stdout


def test_serve_lets_what_runs_go_on_for_as_long_as_is_set(served, monkeypatch):
    monkeypatch.setattr(
        "service.assembly.assemble", lambda settings: make_corridor(drain_seconds=settings.drain_seconds)
    )
    monkeypatch.setenv("WINNOW_DRAIN_SECONDS", "7")
    assert run("serve").exit_code == 0
    assert served[0][1]["timeout_graceful_shutdown"] == 7


def test_an_option_goes_before_the_environment_and_the_environment_before_the_file(served, monkeypatch, tmp_path):
    seen: list[Settings] = []
    monkeypatch.setattr("service.assembly.assemble", lambda settings: seen.append(settings) or make_corridor())
    (tmp_path / "winnow.toml").write_text('host = "127.0.0.3"\nport = 1\npolicy = "strict"\n')
    monkeypatch.setenv("WINNOW_HOST", "127.0.0.4")
    monkeypatch.setenv("WINNOW_PORT", "2")
    assert run("serve", "--port", 3).exit_code == 0
    assert (seen[0].policy, seen[0].host, seen[0].port) == ("strict", "127.0.0.4", 3)


@pytest.mark.parametrize("command", ["serve", "chat"])
def test_an_upstream_and_its_model_are_named_at_the_door(served, monkeypatch, command):
    seen: list[Settings] = []
    monkeypatch.setattr("service.assembly.assemble", lambda settings: seen.append(settings) or make_corridor())
    assert run(command, "--upstream", "http://there/v1", "--upstream-model", "m", input="\n").exit_code == 0
    assert (seen[0].upstream, seen[0].upstream_model) == ("http://there/v1", "m")


@pytest.mark.parametrize("command", ["serve", "chat"])
def test_an_upstream_that_is_not_there_is_named_with_what_helps(served, monkeypatch, command):
    monkeypatch.setattr("service.assembly.assemble", load_generator)
    monkeypatch.setenv("WINNOW_UPSTREAM_RETRIES", "0")
    line = refusal(run(command, "--upstream", "http://127.0.0.1:9/v1"))
    assert line.startswith("error: http://127.0.0.1:9/v1/models cannot be reached")
    assert "name its model with --upstream-model" in line
    assert not served


def test_chat_answers_until_an_empty_line(monkeypatch):
    seen: list[Decision] = []
    monkeypatch.setattr("service.assembly.assemble", lambda settings: make_corridor([GLAD]))
    monkeypatch.setattr("service.terminal.show", lambda decision, out: seen.append(decision))
    result = run("chat", input="Hello?\n\n")
    assert result.exit_code == 0
    assert [reply.text for decision in seen for reply in decision.replies] == [GLAD]


@pytest.mark.parametrize("command", [("serve",), ("chat",), ("screen", "in.jsonl"), ("eval", "own.jsonl")])
def test_an_unknown_policy_is_named_with_the_presets(served, tmp_path, command):
    written(tmp_path / "in.jsonl", *LINES)
    written(tmp_path / "own.jsonl", *EXCHANGES)
    line = refusal(run(*command, "--policy", "lax"))
    assert line == "error: policy 'lax' is neither a preset (strict, balanced, permissive) nor a file"
    assert not served


@pytest.mark.parametrize("command", ["serve", "chat"])
def test_a_missing_index_is_named_with_what_to_do(served, command):
    line = refusal(run(command, "--index", "absent"))
    assert "no index at absent" in line
    assert "winnow index" in line
    assert not served


def test_a_damaged_index_is_named(served, notes):
    run("index", notes, "-o", "made")
    file = next(Path("made").glob("*/passages.sqlite"))
    file.write_text("{}")
    assert f"{file} (checksum differs)" in refusal(run("serve", "--index", "made"))


def test_a_policy_that_names_an_unknown_objective_stops_the_start(served, tmp_path):
    (tmp_path / "own.toml").write_text("[objectives.niceness]\nthreshold = 0.2\n")
    assert "unknown objective 'niceness'" in refusal(run("serve", "--policy", "own.toml"))
    assert not served


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("serve", "--port", "many"), "--port"),
        (("train", "--seed", "x"), "--seed"),
        (("serve", "--colour", "red"), "--colour"),
        (("screen",), "file"),
        (("dance",), "dance"),
    ],
)
def test_an_option_that_cannot_be_read_is_named(words, option):
    result = run(*words)
    assert result.exit_code == 2
    assert option in result.stderr.lower()
    assert "Traceback" not in result.stderr


def test_a_setting_out_of_range_is_named_with_its_limit(served, monkeypatch):
    assert refusal(run("serve", "--port", 70000)).startswith("error: setting port: ")
    assert "65535" in refusal(run("serve", "--port", 70000))
    monkeypatch.setenv("WINNOW_CANDIDATES", "65")
    assert refusal(run("serve")) == "error: setting candidates: Input should be less than or equal to 64"


@pytest.mark.parametrize(
    ("content", "says"), [("colour = 1", "setting colour"), ("port = ", "winnow.toml"), ("port = 'x'", "setting port")]
)
def test_a_bad_settings_file_stops_the_start(served, tmp_path, content, says):
    (tmp_path / "winnow.toml").write_text(content)
    assert says in refusal(run("serve"))
    assert not served


@pytest.fixture
def bees(monkeypatch):
    """A support classifier to which a passage says what stands in it."""

    class Words:
        version, threshold = "words", 0.5

        def judge(self, claims):
            return [
                SimpleNamespace(supported=float(claim in passage), contradicted=0.0) for passage, _, claim in claims
            ]

    monkeypatch.setattr(Support, "load", Words)


@pytest.mark.usefixtures("bees")
def test_ground_writes_a_line_of_claims_for_each_text_from_the_index_it_is_given(tmp_path):
    corpus = tmp_path / "notes.md"
    corpus.write_text("# Bees\n\nBees make honey in summer.")
    assert run("index", corpus, "--output", tmp_path / "mine").exit_code == 0
    file = written(
        tmp_path / "in.jsonl", {"id": "a", "text": "Bees make honey in summer."}, {"id": "b", "text": "Hello!"}
    )
    result = run("ground", file, "--index", tmp_path / "mine", "--output", tmp_path / "out.jsonl")
    assert (result.exit_code, result.stdout) == (0, "")
    first, second = (json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines())
    assert (first["id"], first["groundedness"]) == ("a", 1.0)
    assert first["claims"][0]["citations"][0]["quote"]["text"] == "Bees make honey in summer."
    assert second == {"id": "b", "claims": [], "support": None, "groundedness": None}


@pytest.mark.usefixtures("bees")
def test_ground_takes_sources_from_the_line_and_every_sentence_for_a_claim_when_asked_to(tmp_path):
    file = written(tmp_path / "in.jsonl", {"text": "Hello! Bees make honey.", "sources": ["Bees make honey."]})
    plain, every = run("ground", file), run("ground", file, "--all-sentences")
    assert [len(json.loads(result.stdout)["claims"]) for result in (plain, every)] == [1, 2]


def test_ground_names_what_is_wrong_with_a_line(tmp_path):
    file = written(tmp_path / "in.jsonl", {"text": "Fine."}, {"text": 3})
    assert refusal(run("ground", file)) == "error: in.jsonl:2: field 'text' must be a text"
