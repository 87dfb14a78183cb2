"""`winnow label`: what several raters said comes out as one file that the other commands read."""

import json
import socket

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from classifiers.labelled import read_labelled
from service.cli import app
from service.labels import Sheet, answers_path, read_items


def run(*words):
    return CliRunner().invoke(app, ["label", *map(str, words)])


def said(result):
    return " ".join(result.stderr.split())


@pytest.fixture
def pools(tmp_path):
    path = tmp_path / "pools.jsonl"
    turn = {"role": "user", "content": "Hi"}
    candidates = [{"text": text} for text in ("One.", "Two.", "Three.")]
    path.write_text(json.dumps({"id": "p", "context": [turn], "candidates": candidates, "source": "own"}))
    return path


def rate(file, rater, **answers):
    """Answers on safety, to candidates 1, 2 and 3."""
    sheet = Sheet(answers_path(file, rater), read_items(file))
    for name, value in answers.items():
        sheet.answer(f"p/{name[1:]}", "safety", value)


def test_what_most_say_is_written_as_labelled_exchanges_and_ties_are_named(pools, tmp_path):
    rate(pools, "ada", c1=[], c2=["hate"], c3=[])
    rate(pools, "bob", c1=[], c2=["hate", "crime"], c3=["hate"])
    rate(pools, "cyd", c1=["hate"], c2=[])
    output = tmp_path / "out" / "labelled.jsonl"
    result = run(pools, "--export", output)
    assert result.exit_code == 0
    safe, unsafe = read_labelled(output)
    assert (safe.id, safe.unsafe, safe.group, safe.reply) == ("p/1", False, "p", "One.")
    assert safe.context == (("user", "Hi"),)
    assert unsafe.objectives == {"hate", "crime"}
    assert "undecided: p/3: tied on safety" in said(result)
    beside = json.loads(output.with_suffix(".agreement.json").read_text())
    assert [row["id"] for row in beside["undecided"]] == ["p/3"]
    assert beside["raters"] == ["ada", "bob", "cyd"]
    # By hand: 8 values in 3 items, 4 of them violations; each pair of unlike values in an item of m raters counts 1/(m - 1) in both
    # orders: 2 + 2 + 2 = 6 observed against 2·4·4/7 by chance: 1 - 6/(32/7).
    assert beside["agreement"]["safety"]["krippendorff_alpha"] == pytest.approx(1 - 6 / (32 / 7))
    assert "alpha -0.31 over 3 items" in said(result)


def test_what_one_person_rated_is_marked_and_said(pools, tmp_path):
    rate(pools, "ada", c1=["hate"])
    result = run(pools, "--export", tmp_path / "o.jsonl")
    (row,) = map(json.loads, (tmp_path / "o.jsonl").read_text().splitlines())
    assert row["one_rater"] is True
    assert "1 items have one rater alone" in said(result)
    assert "alpha not defined" in said(result)


def test_answers_about_changed_texts_are_named_and_do_not_count(pools, tmp_path):
    rate(pools, "ada", c1=["hate"], c2=[])
    pools.write_text(pools.read_text().replace("One.", "Other."))
    result = run(pools, "--export", tmp_path / "o.jsonl")
    assert [example.id for example in read_labelled(tmp_path / "o.jsonl")] == ["p/2"]
    assert "ada: 1 answers are about texts that have changed" in said(result)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--rater NAME"),
        (["--rater", "../x"], "--rater is '../x'"),
        (["--rater", "ada", "--ask", "taste"], "--ask is 'taste'; allowed: safety, quality, grounding"),
        (["--rater", "ada", "--ask", "grounding"], "no sentence with its quote"),
        (["--export", "o.jsonl"], "nobody has rated"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(pools, monkeypatch, options, words):
    monkeypatch.chdir(pools.parent)
    result = run(pools, *options)
    assert result.exit_code == 2
    assert said(result).startswith("error: ")
    assert words in said(result)


def test_an_export_overwrites_nothing(pools, tmp_path):
    rate(pools, "ada", c1=[])
    (tmp_path / "o.agreement.json").write_text("kept")
    assert "o.agreement.json exists" in said(run(pools, "--export", tmp_path / "o.jsonl"))
    assert (tmp_path / "o.agreement.json").read_text() == "kept"


def test_an_export_reads_no_answers_that_are_being_written(pools, tmp_path):
    rate(pools, "ada", c1=[])
    path = answers_path(pools, "ada")
    with FileLock(path.with_name(f".{path.name}.lock")):
        assert "ada is rating in another window" in said(run(pools, "--export", tmp_path / "o.jsonl"))
    assert run(pools, "--export", tmp_path / "o.jsonl").exit_code == 0


def test_half_a_character_is_exported_as_it_was(pools, tmp_path):
    pools.write_text(json.dumps({"id": "p", "candidates": [{"text": "Half \ud83d"}]}))
    rate(pools, "ada", c1=[])
    assert run(pools, "--export", tmp_path / "o.jsonl").exit_code == 0
    assert [example.reply for example in read_labelled(tmp_path / "o.jsonl")] == ["Half \ud83d"]


def test_a_line_that_cannot_be_rated_is_named_by_file_and_line(pools, tmp_path):
    pools.write_text(pools.read_text() + '\n{"id": "b"}\n')
    assert said(run(pools, "--rater", "ada")) == "error: pools.jsonl:2: field 'reply' must be a non-empty text"
    assert said(run(pools, "--export", tmp_path / "o.jsonl")).startswith("error: pools.jsonl:2: ")


def test_one_rater_cannot_rate_in_two_windows_at_once(pools):
    path = answers_path(pools, "ada")
    with FileLock(path.with_name(f".{path.name}.lock")):
        assert "ada is rating" in said(run(pools, "--rater", "ada"))


def test_the_page_is_served_on_this_machine_alone(pools, monkeypatch):
    seen = {}

    def run_server(self, sockets):
        seen["address"], seen["app"] = sockets[0].getsockname(), self.config.app
        socket.create_connection(seen["address"], timeout=5).close()  # the address is printed: it must answer

    monkeypatch.setattr("uvicorn.Server.run", run_server)
    result = run(pools, "--rater", "ada", "--ask", "safety")
    assert result.exit_code == 0
    host, port = seen["address"]
    assert host == "127.0.0.1"
    assert port > 0
    assert result.stdout.strip() == f"http://127.0.0.1:{port}/"
    assert "pools.jsonl.labels.ada.jsonl" in said(result)
