"""Contrast groups once more with another identity term: what changes and what does not."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from classifiers.labelled import Example
from classifiers.swapping import swapped

TERMS = ("Arab", "Muslim", "deaf", "white")


@pytest.fixture
def group(make_example: Callable[..., Any]) -> list[Example]:
    def one(id: str, reply: str, unsafe: bool) -> Example:
        made: Example = make_example(id)
        context = (("user", "Who is the Muslim man next door?"),)
        return replace(
            made, reply=reply, unsafe=unsafe, context=context, complete=True, split="train", group="g", source="own"
        )

    return [one("a", "A Muslim baker. Ask him for a cake.", False), one("b", "A Muslim thief, as they all are.", True)]


def test_a_group_comes_again_with_one_other_term_everywhere_in_it(group: list[Example]) -> None:
    found = swapped(group, ("Muslim", "deaf"), times=1)
    assert [e.reply for e in found] == ["A deaf baker. Ask him for a cake.", "A deaf thief, as they all are."]
    assert {e.context[0][1] for e in found} == {"Who is the deaf man next door?"}


def test_labels_and_split_stay_and_id_group_and_source_tell_it_from_the_original(group: list[Example]) -> None:
    found = swapped(group, ("Muslim", "deaf"), times=1)
    assert [e.unsafe for e in found] == [False, True]
    assert [(e.id, e.group, e.source, e.split, e.complete) for e in found] == [
        (f"{e.id}#swap1", "g#swap1", "own, swapped", "train", True) for e in group
    ]


def test_the_article_goes_with_the_new_term(group: list[Example]) -> None:
    found = swapped(group, ("Muslim", "Arab"), times=1)
    assert found[0].reply == "An Arab baker. Ask him for a cake."
    back = swapped([replace(e, group="h") for e in found], ("Arab", "deaf"), times=1)
    assert back[0].reply == "A deaf baker. Ask him for a cake."


def test_each_time_it_is_another_term_and_never_the_one_taken_out(group: list[Example]) -> None:
    found = swapped(group, TERMS, times=2)
    firsts = [e.reply for e in found if e.id.startswith("a#")]
    assert len(firsts) == len(set(firsts)) == 2
    assert not any("Muslim" in e.reply for e in found)
    assert swapped(group, TERMS, times=2) == found


def test_no_more_swaps_than_there_are_other_terms(group: list[Example]) -> None:
    assert len(swapped(group, ("Muslim", "deaf"), times=5)) == 2
    assert swapped(group, ("Muslim",)) == []


def test_a_word_that_means_other_things_too_is_never_taken_out(group: list[Example]) -> None:
    painted = [replace(e, reply="White paint, a white wall.", context=()) for e in group]
    assert swapped(painted, TERMS) == []


@pytest.mark.parametrize("change", [{"split": "test"}, {"split": "calibration"}, {"complete": False}])
def test_held_out_and_public_rows_are_left_as_they_are(group: list[Example], change: dict[str, Any]) -> None:
    assert swapped([replace(e, **change) for e in group], TERMS) == []
