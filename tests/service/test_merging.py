"""Raters put together: majorities, ties and agreement, worked out by hand."""

import numpy as np
import pytest

from service.labels import Item
from service.merging import alpha, merge


def item(id, **given):
    return Item(id, ({"role": "user", "content": "Hi"},), f"Reply {id}.", "assistant", "S.", "Q.", given)


def merged(*answers, items=None):
    """Answers of each rater to the item "a"."""
    return merge(items or [item("a")], {f"r{n}": {"a": answer} for n, answer in enumerate(answers)})


def safety(*names):
    return {"safety": list(names)}


def test_two_of_three_raters_who_find_no_violation_make_a_reply_safe():
    (row,) = merged(safety(), safety(), safety("hate")).rows
    assert row["labels"] == []
    assert row["raters"] == 3
    assert "one_rater" not in row


def test_two_of_three_raters_who_find_one_make_it_unsafe_for_what_at_least_half_of_them_name():
    (row,) = merged(safety("hate", "crime"), safety("hate"), safety()).rows
    assert row["labels"] == ["crime", "hate"]
    (row,) = merged(safety("hate", "crime"), safety("hate"), safety("hate", "privacy")).rows
    assert row["labels"] == ["hate"]


def test_an_unsafe_reply_never_comes_out_without_an_objective():
    (row,) = merged(safety("hate"), safety("crime"), safety("privacy")).rows
    assert row["labels"] == ["crime", "hate", "privacy"]


def test_a_tie_decides_nothing_and_is_named_with_its_votes():
    found = merged(safety(), safety("hate"))
    assert found.rows == []
    (row,) = found.undecided
    assert row["id"] == "a"
    assert row["tied"] == ["safety"]
    assert row["votes"] == {"r0": {"safety": []}, "r1": {"safety": ["hate"]}}
    assert "labels" not in row


def test_what_one_person_rated_is_marked():
    found = merged(safety("hate"))
    assert found.rows[0]["one_rater"] is True
    assert found.one_rater == ["a"]


def test_a_reply_whose_safety_one_person_alone_has_judged_is_marked_whoever_else_rated_it():
    found = merged(safety("hate"), {"sensible": True}, {"sensible": True})
    assert (found.rows[0]["raters"], found.rows[0]["one_rater"]) == (1, True)
    assert found.one_rater == ["a"]


def test_who_has_not_answered_has_no_vote():
    (row,) = merged(safety(), safety(), {"sensible": True}, {}).rows
    assert (row["labels"], row["raters"]) == ([], 2)
    assert merged(safety(), safety("hate"), {"sensible": True}).undecided[0]["tied"] == ["safety"]
    assert merged(safety(), safety(), safety("hate"), safety("crime")).undecided[0]["tied"] == ["safety"]


def test_what_is_not_sensible_is_neither_specific_nor_interesting():
    yes = {"sensible": True, "specific": True, "interesting": True}
    (row,) = merged(yes, {"sensible": False}, {"sensible": False}).rows
    assert (row["sensible"], row["specific"], row["interesting"]) == (0, 0, 0)
    (row,) = merged(yes, {"sensible": True, "specific": False}, yes).rows
    assert (row["sensible"], row["specific"], row["interesting"]) == (1, 1, 1)
    found = merged(yes, {"sensible": True, "specific": False})
    assert found.undecided[0]["tied"] == ["specific", "interesting"]


def test_a_judged_source_comes_out_as_the_ground_suite_reads_it():
    (row,) = merged({"supported": True}, items=[item("a", mode="cite", claim=True, cited=True)]).rows
    kept = {name: row[name] for name in ("id", "mode", "sentence", "claim", "cited", "right")}
    assert kept == {"id": "a", "mode": "cite", "sentence": "S.", "claim": True, "cited": True, "right": True}


def test_where_safety_is_asked_an_item_without_an_answer_to_it_is_undecided():
    items = [item("a"), item("b"), item("c")]
    found = merge(items, {"x": {"a": safety(), "b": {"sensible": True}, "c": {}}})
    assert [row["id"] for row in found.rows] == ["a"]
    assert [(row["id"], row["not_answered"]) for row in found.undecided] == [("b", ["safety"])]


def test_nobody_has_rated_anything():
    found = merge([item("a")], {})
    assert (found.rows, found.undecided, found.agreement) == ([], [], {})


def test_alpha_is_that_of_the_textbook():
    # Krippendorff (2011), "Computing Krippendorff's alpha-reliability", binary data, two observers: alpha = .095
    a = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0]
    b = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    assert alpha(np.array([a, b], dtype=float)) == pytest.approx(0.095, abs=0.0005)


def test_alpha_with_missing_answers_is_that_of_the_textbook():
    # Krippendorff (2011), "Computing Krippendorff's alpha-reliability", nominal data, four observers, missing values: alpha = .743
    table = [
        "1 2 3 3 2 1 4 1 2 . . .",
        "1 2 3 3 2 2 4 1 2 5 . 3",
        ". 3 3 3 2 3 4 2 2 5 1 .",
        "1 2 3 3 2 4 4 1 2 5 1 .",
    ]
    rows = [[np.nan if cell == "." else float(cell) for cell in row.split()] for row in table]
    assert alpha(np.array(rows)) == pytest.approx(0.743, abs=0.0005)


def test_alpha_by_hand_one_when_all_agree_none_when_nothing_can_be_said():
    nan = np.nan
    assert alpha(np.array([[0, 1, nan], [0, 1, 1.0]])) == 1.0
    assert alpha(np.array([[1, 1], [1, 1.0]])) is None  # one answer only: chance agrees as well
    assert alpha(np.array([[1, nan], [nan, 0.0]])) is None  # no item with two raters
    assert alpha(np.empty((0, 0))) is None
    # Two items, each with a 0 and a 1: coincidences 0-1 and 1-0 are 2 each; by chance 2·2/(4 - 1) = 4/3 each; 1 - 4/(8/3)
    assert alpha(np.array([[0, 1], [1, 0.0]])) == pytest.approx(-0.5)


def test_agreement_counts_the_items_that_two_have_rated():
    answers = {"x": {"a": safety(), "b": safety("hate")}, "y": {"a": safety(), "b": safety("crime")}}
    found = merge([item("a"), item("b"), item("c")], answers).agreement
    assert set(found) == {"safety"}
    assert (found["safety"].alpha, found["safety"].items) == (1.0, 2)
