"""What raters are asked and what becomes of their answers: files of items, and the sheet that is kept line by line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import POOLS, QUALITY
from service.batch import BadLine
from service.labels import SETS, Sheet, answers_path, questions_of, raters_of, read_items

ALL = list(SETS)
TURN = {"role": "user", "content": "Hi"}


def written(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def file(tmp_path):
    return written(
        tmp_path / "replies.jsonl",
        {"id": "a", "context": [TURN], "reply": "Hello.", "labels": ["hate"], "source": "own", "sensible": 1},
        {"id": "b", "reply": "Nairobi is big.", "sentence": "Nairobi is big.", "quote": "Nairobi, a large city"},
    )


@pytest.fixture
def sheet(file):
    return Sheet(answers_path(file, "ada"), read_items(file))


def test_an_item_is_a_reply_in_its_context_and_keeps_what_else_its_line_holds_but_no_label(file):
    first, second = read_items(file)
    assert (first.reply, first.role, dict(first.context[0])) == ("Hello.", "assistant", TURN)
    assert first.given == {"source": "own"}
    assert (second.sentence, second.quote) == ("Nairobi is big.", "Nairobi, a large city")


def test_the_candidates_of_a_pool_are_items_without_their_labels(tmp_path):
    pool = {"id": "p", "context": [TURN], "candidates": [{"text": "One.", "unsafe": True}, {"text": "Two."}]}
    items = read_items(written(tmp_path / "pools.jsonl", pool))
    assert [(item.id, item.reply) for item in items] == [("p/1", "One."), ("p/2", "Two.")]
    assert items[0].given == {"pair": "p", "source": "own"}


def test_our_own_pools_and_rated_replies_can_be_rated_anew():
    assert len(read_items(POOLS / "pools.jsonl")) > 1000
    assert len(read_items(QUALITY / "replies.jsonl")) == 720


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"reply": "x"}, "'id'"),
        ({"id": "a"}, "'reply'"),
        ({"id": "a", "reply": " "}, "'reply'"),
        ({"id": "a", "reply": "x", "role": "system"}, "'role'"),
        ({"id": "a", "reply": "x", "context": [{"role": "bot", "content": ""}]}, "'context'"),
        ({"id": "a", "reply": "x", "sentence": "x"}, "'sentence' and 'quote'"),
        ({"id": "a", "reply": "x", "sentence": 3, "quote": "y"}, "'sentence'"),
        ({"id": "a", "candidates": []}, "'candidates'"),
        ({"id": "a", "candidates": [{}]}, "candidate 1: field 'text'"),
        ([], "JSON object"),
    ],
)
def test_a_line_that_cannot_be_rated_is_named_with_its_field(tmp_path, row, field):
    good = {"id": "good", "reply": "x"}
    with pytest.raises(BadLine, match=rf"x\.jsonl:2: .*{field}"):
        read_items(written(tmp_path / "x.jsonl", good, row))


def test_an_id_that_comes_twice_and_a_file_without_items_are_refused(tmp_path):
    twice = [{"id": "a", "reply": "x"}] * 2
    with pytest.raises(BadLine, match=r"x\.jsonl:2: id 'a'"):
        read_items(written(tmp_path / "x.jsonl", *twice))
    with pytest.raises(BadLine, match="nothing"):
        read_items(written(tmp_path / "y.jsonl"))


def test_questions_follow_the_cascade_and_a_source_is_asked_about_where_there_is_one(file):
    plain, sourced = read_items(file)
    assert questions_of(plain, ALL, {}) == ["safety", "sensible"]
    assert questions_of(plain, ALL, {"sensible": True}) == ["safety", "sensible", "specific"]
    assert questions_of(plain, ALL, {"sensible": False, "specific": True}) == ["safety", "sensible"]
    asked = questions_of(sourced, ALL, {"sensible": True, "specific": True})
    assert asked == ["safety", "sensible", "specific", "interesting", "supported"]
    assert questions_of(plain, ["grounding"], {}) == []


def test_an_answer_is_on_disk_before_it_counts_and_a_later_start_goes_on_from_it(file, sheet):
    sheet.answer("a", "sensible", True)
    sheet.answer("a", "safety", ["hate", "crime"])
    again = Sheet(answers_path(file, "ada"), read_items(file))
    assert again.answers == sheet.answers == {"a": {"sensible": True, "safety": ["crime", "hate"]}}
    assert raters_of(file) == ["ada"]
    assert Sheet(answers_path(file, "bob"), read_items(file)).answers == {}


def test_undo_goes_back_step_by_step_also_after_a_restart_and_no_line_is_lost(file, sheet):
    sheet.answer("a", "sensible", True)
    sheet.answer("a", "sensible", False)
    sheet.answer("b", "safety", [])
    sheet = Sheet(answers_path(file, "ada"), read_items(file))
    assert sheet.undo() == ("b", "safety")
    assert sheet.undo() == ("a", "sensible")
    assert sheet.answers["a"] == {"sensible": True}
    sheet = Sheet(answers_path(file, "ada"), read_items(file))
    assert sheet.answers["a"] == {"sensible": True}
    assert sheet.undo() == ("a", "sensible")
    assert sheet.undo() is None
    assert not any(sheet.answers.values())
    assert len(answers_path(file, "ada").read_text().splitlines()) == 6


def test_an_answer_that_a_kill_cut_off_is_asked_for_again(file, sheet):
    sheet.answer("a", "sensible", True)
    path = answers_path(file, "ada")
    path.write_bytes(path.read_bytes() + b'{"id": "2", "it')
    again = Sheet(path, read_items(file))
    assert again.answers == {"a": {"sensible": True}}
    again.answer("b", "sensible", False)
    assert len(Sheet(path, read_items(file)).answers) == 2


def test_rating_that_was_killed_at_any_byte_goes_on_with_no_answer_lost_and_none_twice(file, sheet):
    given = [("a", "safety", ["hate"]), ("a", "sensible", True), ("b", "safety", []), ("b", "sensible", False)]
    for one in given:
        sheet.answer(*one)
    path, items = answers_path(file, "ada"), read_items(file)
    whole = path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        again = Sheet(path, items)
        kept = whole[:length].count(b"\n")
        assert sum(map(len, again.answers.values())) == kept
        for one in given[kept:]:
            again.answer(*one)
        assert path.read_bytes() == whole
        assert again.answers == sheet.answers


@pytest.mark.parametrize(
    ("kept", "says"),
    [([0, 2], "ada.jsonl:2 is numbered '3'"), ([0, 1, 0], "ada.jsonl:3 has the id of a line before it")],
)
def test_answers_of_which_a_line_is_missing_or_twice_are_named_and_not_half_read(file, sheet, kept, says):
    for value in (True, False, True):
        sheet.answer("a", "sensible", value)
    path = answers_path(file, "ada")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[i] for i in kept))
    with pytest.raises(ValueError, match=f"{says}; mend the file, or move it away"):
        Sheet(path, read_items(file))


def test_an_answer_about_words_that_have_changed_does_not_count(file, sheet):
    sheet.answer("a", "sensible", True)
    sheet.answer("b", "sensible", True)
    written(file, {"id": "a", "context": [TURN], "reply": "Other."}, {"id": "c", "reply": "x"})
    again = Sheet(answers_path(file, "ada"), read_items(file))
    assert again.answers == {}
    assert again.stale == 2


@pytest.mark.parametrize(
    ("item", "question", "value", "said"),
    [
        ("z", "sensible", True, "no item 'z'"),
        ("a", "kind", True, "no question 'kind'"),
        ("a", "sensible", ["hate"], "true or false"),
        ("a", "safety", True, "list of objectives"),
        ("a", "safety", ["rudeness"], "unknown objective 'rudeness'"),
    ],
)
def test_what_is_no_answer_is_refused_and_nothing_is_written(file, sheet, item, question, value, said):
    with pytest.raises(ValueError, match=said):
        sheet.answer(item, question, value)
    assert not answers_path(file, "ada").exists()


def test_a_file_that_holds_something_else_is_named_with_its_line(file):
    written(answers_path(file, "ada"), {"id": "1", "item": "a"})
    with pytest.raises(ValueError, match=r"ada\.jsonl:1 is not an answer"):
        Sheet(answers_path(file, "ada"), read_items(file))


@pytest.mark.parametrize(
    "name", ["", "../ada", "/tmp/ada", "a/b", "a\\b", "..", "ada\n", "é", "ada lovelace", ".ada", "-ada", "x" * 41]
)
def test_a_rater_is_named_by_letters_and_digits(tmp_path, name):
    with pytest.raises(ValueError, match="--rater"):
        answers_path(tmp_path / "f.jsonl", name)


STEP = st.one_of(
    st.tuples(st.sampled_from("ab"), st.sampled_from(["sensible", "specific"]), st.booleans()), st.just("undo")
)


@given(st.lists(STEP, max_size=12))
def test_any_course_of_answers_and_undos_is_the_same_after_a_restart(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("sheet")
    items = read_items(written(folder / "f.jsonl", {"id": "a", "reply": "x"}, {"id": "b", "reply": "y"}))
    sheet, states = Sheet(folder / "f.labels.x.jsonl", items), [{}]
    for step in steps:
        if step == "undo":
            sheet.undo()
            states = states[:-1] or [{}]
        else:
            sheet.answer(*step)
            before = {item: dict(said) for item, said in states[-1].items()}
            before.setdefault(step[0], {})[step[1]] = step[2]
            states.append(before)
        assert {item: said for item, said in sheet.answers.items() if said} == states[-1]
    again = Sheet(folder / "f.labels.x.jsonl", items)
    assert again.answers == sheet.answers
