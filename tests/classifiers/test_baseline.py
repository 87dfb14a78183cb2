"""The plain baseline learns words, of the reply and of the context, and nothing else."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from classifiers.baseline import baseline_by_objective, baseline_scores
from classifiers.labelled import Example

Make = Callable[..., Example]


@pytest.fixture
def train(make_example: Make) -> list[Example]:
    return [
        make_example(f"{i}{word}", f"{place} {word}", unsafe=word == "poison", context=(("user", f"{place} please"),))
        for i, place in enumerate(["kitchen", "garden", "cellar", "attic", "market"] * 4)
        for word in ("poison", "butter")
    ]


def test_the_baseline_learns_an_obvious_word(train: list[Example], make_example: Make) -> None:
    judged = [make_example("x", "the Poison in the barn"), make_example("y", "the butter in the barn")]
    unsafe, safe = baseline_scores(train, judged)
    assert unsafe > 0.8
    assert safe < 0.2


def test_the_baseline_learns_a_word_of_the_context(train: list[Example], make_example: Make) -> None:
    asked = [(("user", "Give me Poison"),), (("user", "Give me butter"),)]
    train = [make_example(e.id, "Of course", unsafe=e.unsafe, context=asked[not e.unsafe]) for e in train]
    unsafe, safe = baseline_scores(train, [make_example("x", "Of course", context=c) for c in asked])
    assert unsafe > 0.8
    assert safe < 0.2


def test_a_word_of_the_context_is_not_taken_for_a_word_of_the_reply(train: list[Example], make_example: Make) -> None:
    said = make_example("x", "the barn", context=(("user", "poison"),))
    silent = make_example("y", "the barn", context=(("user", "please"),))
    first, second = baseline_scores(train, [said, silent])
    assert first == pytest.approx(second, abs=0.1)


def test_scores_come_in_the_order_of_what_is_judged(train: list[Example], make_example: Make) -> None:
    judged = [make_example(word, word) for word in ("butter", "poison", "nothing")]
    forward, backward = baseline_scores(train, judged), baseline_scores(train, judged[::-1])
    assert list(forward) == pytest.approx(list(backward[::-1]))
    assert forward.argmax() == 1


@pytest.fixture
def named(make_example: Make) -> list[Example]:
    """Poison is a crime, insults are hate, butter is neither."""
    objectives = {"poison": frozenset(["crime"]), "insult": frozenset(["hate"]), "butter": frozenset[str]()}
    return [
        replace(
            make_example(f"{i}{word}", f"{place} {word}", unsafe=bool(given), context=(("user", "please"),)),
            objectives=given,
        )
        for i, place in enumerate(["kitchen", "garden", "cellar", "attic", "market"] * 4)
        for word, given in objectives.items()
    ]


def test_the_baseline_learns_each_objective_by_its_own_words(named: list[Example], make_example: Make) -> None:
    judged = [make_example(word, f"a {word}") for word in ("poison", "insult", "butter")]
    found = baseline_by_objective(named, judged, ["crime", "hate", "weapons"])
    assert set(found) == {"crime", "hate"}  # no row violates the third
    assert [int(scores.argmax()) for scores in found.values()] == [0, 1]
    assert found["crime"][0] > 0.7 > 0.3 > found["crime"][1]


def test_rows_whose_labels_are_not_complete_teach_nothing_of_objectives(
    named: list[Example], make_example: Make
) -> None:
    partial = [replace(e, objectives=frozenset(["hate"]), complete=False) for e in named if "butter" in e.reply]
    found = baseline_by_objective(named + partial, [make_example("x", "a butter")], ["hate"])
    assert found["hate"][0] < 0.3


def test_an_objective_that_every_row_violates_or_none_is_left_out(named: list[Example], make_example: Make) -> None:
    crimes = [e for e in named if "crime" in e.objectives]
    assert baseline_by_objective(crimes, [make_example("x", "poison")], ["crime", "hate"]) == {}
    assert baseline_by_objective([], [make_example("x", "poison")], ["crime", "hate"]) == {}
