"""`winnow decisions` and `winnow replay`: what is printed and written, and what is refused."""

import json
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from classifiers import Safety, load_policy
from classifiers.labelled import read_labelled
from data import POLICY as SHIPPED_POLICY
from service import log_file
from service.chat import Wants
from service.cli import app
from service.log_cli import since
from service.log_file import Label
from service.records import record_of
from tests.service.logged import Situation
from tests.service.scripted import ASKS_KENYA, ASKS_NOTHING, GLAD, KENYA, JudgingSafety

BOMB = "A bomb [b]for[/b] you.\x1b[31m"
DAY = 86_400
EVEN = "thresholds = { strict = 0.3, balanced = 0.5, permissive = 0.7 }"
ROWS = {BOMB: {"weapons": 0.4}, "Rude.": {"hate": 0.9}}


@pytest.fixture(autouse=True)
def _here(monkeypatch, tmp_path):
    """A folder of the test's own, the scripted classifier, and the shipped policy with even thresholds."""
    shipped = tmp_path / "shipped" / "policy.toml"
    shipped.parent.mkdir()
    shipped.write_text(re.sub(r"(?m)^thresholds = .*$", EVEN, SHIPPED_POLICY.read_text()))
    monkeypatch.setattr("classifiers.policy.POLICY", shipped)
    monkeypatch.setattr(Safety, "load", lambda policy: JudgingSafety({"bomb": {"weapons": 0.95}}, policy))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "decisions.sqlite"


def record(id, created=0, pool=(KENYA,), messages=ASKS_KENYA, retain=False, **wants):
    situation = Situation(messages, Wants(**{"candidates": 6, "seed": 1, **wants}), tuple(pool), ROWS)
    decision = replace(situation.decide(load_policy("balanced")), id=id, created=created)
    return record_of(decision, messages, situation.wants, retain)


def logged(path, *records, labels=()):
    with closing(log_file.open_for_writing(path, True)) as base:
        for each in records:
            log_file.insert(base, each)
        for label in labels:
            log_file.insert_label(base, label)
    return path


def run(*words, wide=True):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "250"} if wide else {})


def refusal(result):
    assert (result.exit_code, result.stdout) == (2, "")
    lines = [line for line in result.stderr.splitlines() if line.strip() and not line.startswith("replaying ")]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


def lines_of(result):
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


THREE = ("chat-safe", "chat-mixed", "chat-rude")


@pytest.fixture
def three(path):
    """One decision that dropped nothing, one that dropped some, one that dropped all; a day between them."""
    return logged(
        path,
        record("chat-safe", 10 * DAY),
        record("chat-mixed", 11 * DAY, [GLAD, "Rude."], ASKS_NOTHING, True),
        record("chat-rude", 12 * DAY, ["Rude."], ASKS_NOTHING),
    )


# decisions


def test_decisions_are_listed_newest_first_with_what_was_dropped_and_sent(three):
    result = run("decisions", "--log", three)
    rows = [line for line in result.stdout.splitlines() if "chat-" in line]
    assert [next(id for id in THREE if id in row) for row in rows] == list(reversed(THREE))
    assert "hate 12" in rows[0]
    assert "fallback" in rows[0]
    assert "hate" in rows[1]
    assert "answer" in rows[1]
    assert "1/1" in rows[2]  # its claim is supported


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ((), "chat-rude chat-mixed chat-safe"),
        (("--limit", 1), "chat-rude"),
        (("--objective", "hate"), "chat-rude chat-mixed"),
        (("--all-dropped",), "chat-rude"),
        (("--since", "1970-01-12T00:00+00:00"), "chat-rude chat-mixed"),
        (("--objective", "weapons"), ""),
    ],
)
def test_as_json_the_records_that_are_asked_for_come_whole(three, words, found):
    rows = lines_of(run("decisions", "--log", three, "--json", *words))
    assert [row["id"] for row in rows] == found.split()
    assert all({"candidates", "replies", "versions", "seconds"} <= set(row) for row in rows)


def test_a_list_that_is_cut_says_so(three):
    assert "1 of 3 decisions; --limit for more" in run("decisions", "--log", three, "--limit", 1).stderr


def test_one_decision_is_shown_without_a_word_of_it(three):
    result = run("decisions", "chat-mixed", "--log", three)
    assert result.exit_code == 0
    assert "hate 0.900" in result.stdout
    assert "kept" in result.stdout
    assert "question: passes" in result.stdout
    for word in ("Rude", "glad", "Hello"):
        assert word not in result.stdout


def test_one_decision_is_shown_with_its_words_where_they_are_asked_for(three):
    shown_words = run("decisions", "chat-mi", "--log", three, "--texts").stdout
    assert all(word in shown_words for word in ("Rude.", GLAD, "Hello, how are you?"))
    rows = lines_of(run("decisions", "--log", three, "--json", "--texts", "--objective", "hate", "--limit", 2))
    assert rows[1]["messages"][0]["said"]["text"] == "Hello, how are you?"
    one = json.loads(run("decisions", "chat-mixed", "--log", three, "--json").stdout)
    assert "text" not in one["messages"][0]["said"]


def test_words_are_printed_as_they_are_without_what_a_terminal_would_obey(path):
    logged(path, record("a", pool=[BOMB], retain=True))
    out = run("decisions", "a", "--log", path, "--texts").stdout
    assert "A bomb [b]for[/b] you.[31m" in out
    assert "\x1b" not in out


def test_labels_are_written_for_the_reader_of_labelled_exchanges(path, tmp_path):
    labels = [Label("a", 0, ("hate",), 1), Label("b", 0, ("hate",), 1), Label("c", 0, ("sensible",), 1)]
    records = [record("a", retain=True), record("b"), record("c", retain=True)]
    result = run("decisions", "--log", logged(path, *records, labels=labels), "--labels", "labelled.jsonl")
    assert "1 labels are of decisions whose texts were not retained" in result.stderr
    assert "1 labels name no safety objective" in result.stderr
    assert [example.id for example in read_labelled(tmp_path / "labelled.jsonl")] == ["a/0"]
    assert "labelled.jsonl exists" in refusal(run("decisions", "--log", path, "--labels", "labelled.jsonl"))


def test_the_log_is_that_of_the_settings_unless_another_is_named(three, tmp_path, monkeypatch):
    (tmp_path / "winnow.toml").write_text(f"decision_log = '{three}'\n")
    assert len(lines_of(run("decisions", "--json"))) == 3
    monkeypatch.setenv("WINNOW_DECISION_LOG", str(tmp_path / "absent"))
    assert "there is no decision log at" in refusal(run("decisions"))


@pytest.mark.parametrize("command", ["decisions", "replay"])
def test_without_a_log_the_commands_say_what_to_do(command, path):
    assert "name its file with --log, or set decision_log" in refusal(run(command))
    assert f"there is no decision log at {path}" in refusal(run(command, "--log", path))
    path.write_text("Dear diary, " * 100)
    assert "cannot be read as a decision log: file is not a database" in refusal(run(command, "--log", path))
    path.unlink()
    logged(path)
    with closing(sqlite3.connect(path)) as base:
        base.execute("PRAGMA user_version=9")
    assert "schema version 9" in refusal(run(command, "--log", path))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--texts",), "--texts goes with the id of a decision, or with --json"),
        (("chat-safe", "--texts"), "decision chat-safe holds no texts"),
        (("chat-", "--json"), "several decisions begin with 'chat-'"),
        (("nobody",), "holds no decision 'nobody'"),
        (
            ("--since", "yesterday"),
            "--since is 'yesterday'; give a date, 2026-01-31, a time, or so long ago: 30m, 12h, 7d",
        ),
        (("--labels", "labelled.jsonl"), "holds no label that could be written"),
    ],
)
def test_decisions_refuses_what_it_cannot_do(three, words, says):
    assert says in refusal(run("decisions", "--log", three, *words))


# replay


def test_replay_prints_and_writes_what_would_change(path):
    logged(path, record("chat-1", pool=[GLAD, BOMB], messages=ASKS_NOTHING, grounding="off"), record("chat-2"))
    result = run("replay", "--policy", "strict", "--log", path, "--output", "replayed.json")
    assert result.exit_code == 0
    report = json.loads(Path("replayed.json").read_text())
    dropped = report["candidates"]["newly_dropped"]
    assert dropped > 0
    assert report["decisions"] == 2
    assert report["objectives"] == {
        "weapons": {"newly_dropped": dropped, "newly_passed": 0, "newly_flagged": 0, "no_longer_flagged": 0}
    }
    assert [row["id"] for row in report["changes"]] == ["chat-1"]
    strict = load_policy("strict").fingerprint
    assert report["after"] == {"preset": "strict", "policy": strict, "policies": {strict: 2}, "weights": None}
    assert f"policy: {load_policy('balanced').fingerprint} (2) → strict {strict} (2)" in result.stdout
    assert "chat-1" in result.stdout
    assert "newly dropped: weapons 0.400, threshold 0.300" in result.stdout
    assert "written to replayed.json" in result.stderr


def test_replay_under_the_policy_of_the_log_changes_nothing(three):
    result = run("replay", "--log", three, "--output", "replayed.json")
    report = json.loads(Path("replayed.json").read_text())
    assert (report["replies"], report["changes"], report["objectives"]) == (
        {"same": 3, "another": 0, "open": 0},
        [],
        {},
    )
    assert "3 the same, 0 another, 0 open" in result.stdout


def test_replay_takes_a_policy_file_and_a_time_from_which_on(three, tmp_path):
    (tmp_path / "mine.toml").write_text("[objectives.hate]\nthreshold = 0.95\n")
    words = ("replay", "--log", three, "--policy", "mine.toml", "--output", "replayed.json")
    assert run(*words, "--since", "1970-01-13T00:00+00:00").exit_code == 0
    report = json.loads(Path("replayed.json").read_text())
    assert (report["decisions"], report["candidates"]["newly_passed"], report["replies"]["another"]) == (1, 12, 1)


def test_replay_shows_words_where_they_are_asked_for_and_retained(path):
    logged(path, record("a", 1, [BOMB], retain=True), record("b", 2, [BOMB]))
    words = ("replay", "--policy", "strict", "--log", path)
    assert "bomb" not in run(*words).stdout
    told = run(*words, "--texts").stdout
    assert "A bomb [b]for[/b] you.[31m" in told
    assert "user: What is the capital of Kenya?" in told
    assert "\x1b" not in told


def test_replay_prints_so_many_examples(path):
    logged(path, *(record(f"chat-{n}", n, [BOMB]) for n in range(4)))
    result = run("replay", "--policy", "strict", "--log", path, "--examples", 1)
    assert result.stdout.count("chat-") == 1
    assert "3 more changed decisions" in result.stdout


def test_scored_again_the_weights_that_are_installed_decide(path):
    logged(path, record("old", 1, [BOMB]), record("new", 2, [BOMB], retain=True))
    result = run("replay", "--rescore", "--log", path, "--output", "replayed.json")
    report = json.loads(Path("replayed.json").read_text())
    assert (report["decisions"], report["skipped"], report["after"]["weights"]) == (1, 1, "scripted-1")
    assert report["candidates"]["newly_dropped"] == 6
    assert "weapons 0.400 → 0.950, threshold 0.500" in result.stdout
    assert "1 decisions hold no texts and were left out" in result.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--since", "2026-01-01"), "holds no decision since 2026-01-01"),
        (("--output", "absent/replayed.json"), "there is no folder absent"),
        (("--policy", "absent.toml"), "neither a preset"),
        (("--rescore",), "none of the 1 decisions holds texts (retain_texts)"),
    ],
)
def test_replay_refuses_what_it_cannot_do(path, words, says):
    assert says in refusal(run("replay", "--log", logged(path, record("a")), *words))


def test_an_objective_that_the_log_has_no_scores_for_is_named(path, tmp_path):
    logged(path, record("a"))
    (tmp_path / "mine.toml").write_text("[objectives.dosage]\nhead = 'heads/dosage'\n")
    said = refusal(run("replay", "--log", path, "--policy", "mine.toml"))
    assert "decision a holds no score for the objective 'dosage' of the new policy: score again with --rescore" in said


# --since


def test_a_time_can_be_said_in_three_ways():
    assert since("2h", 10_000.0) == 10_000 - 7200
    assert (since("30m", 10_000.0), since("7d", 0.0)) == (8200.0, -7 * DAY)
    assert since("1970-01-02T00:00:00+00:00", 0.0) == DAY
    assert since("2026-01-31", 0.0) == datetime(2026, 1, 31).timestamp()


@pytest.mark.parametrize("text", ["", "d", "7w", "2026-13-01", "-1d", "0000-01-01"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="--since is "):
        since(text, 0.0)
