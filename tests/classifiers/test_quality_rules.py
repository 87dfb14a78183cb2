"""What is made of a true turn: never the true turn itself, always the same, and of the kind that it is called."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers.quality_rules import ANSWERS, GENERIC, contradicting, made_by_rule, random_turns, shuffled
from classifiers.quality_sets import NextTurn

LONG = "It is said that green tea was drunk there first."


def turn(
    name: str = "a", reply: str = LONG, said: str = "I like tea.", liked: bool | None = None, split: str = "train"
) -> NextTurn:
    return NextTurn(name, (("user", said),), reply, name, "talk", split, liked)


def chance() -> np.random.Generator:
    return np.random.default_rng(0)


OTHERS = [turn(name, f"Another reply of {name}.") for name in "bcdefg"]


def test_one_turn_gives_one_row_of_every_kind_with_the_context_it_had() -> None:
    rows = [row for row in made_by_rule([turn(), *OTHERS]) if row.group == "a"]
    assert [row.kind for row in rows] == ["next", *ANSWERS]
    assert {row.context for row in rows} == {turn().context}
    assert len({row.id for row in rows}) == len(rows)
    by_kind = {row.kind: row for row in rows}
    assert by_kind["random"].reply in {other.reply for other in OTHERS}
    assert by_kind["random too"].reply not in (by_kind["random"].reply, LONG)
    assert by_kind["repeated"].reply == "I like tea."
    assert by_kind["contradicting"].reply == "I don't like tea."
    assert by_kind["generic"].reply in GENERIC
    assert sorted(by_kind["shuffled"].reply.split()) == sorted(LONG.split())
    for kind, answers in ANSWERS.items():
        assert by_kind[kind].answers == answers


def test_rows_are_the_same_whatever_else_is_made_before_them() -> None:
    assert made_by_rule([turn(), *OTHERS])[:7] == made_by_rule([*OTHERS, turn()])[-7:]


@pytest.mark.parametrize(
    ("reply", "liked", "answers"),
    [
        (LONG, None, (True, True, None)),
        (LONG, True, (True, True, True)),
        (LONG, False, (True, True, False)),
        ("Yes.", True, (True, None, None)),
    ],
)
def test_a_true_turn_is_sensible_and_specific_when_it_says_something(reply, liked, answers) -> None:
    assert made_by_rule([turn(reply=reply, liked=liked)])[0].answers == answers


def test_nothing_that_equals_the_true_turn_is_made() -> None:
    rows = made_by_rule([turn(reply="I like tea.", said="I like tea.")])
    assert "repeated" not in {row.kind for row in rows}


def test_strangers_are_of_the_same_source_and_split() -> None:
    apart = [turn("test", "Of the test split.", split="test")]
    rows = made_by_rule([turn(), *apart])
    assert "random" not in {row.kind for row in rows}


@given(st.integers(0, 10))
def test_random_turns_are_of_others_and_no_two_alike(count: int) -> None:
    own = [turn("a", "Another reply of the same.")]
    found = random_turns(turn(), [turn(), *own, *OTHERS, *OTHERS], count)
    assert len(found) == len(set(found)) == min(count, len(OTHERS))
    assert set(found) <= {other.reply for other in OTHERS}


@given(st.lists(st.sampled_from("abcde"), max_size=8))
def test_shuffled_words_are_the_same_words_in_another_order(words: list[str]) -> None:
    found = shuffled(" ".join(words), chance())
    if len(words) < 5 or len(set(words)) < 3:
        assert found is None
    else:
        assert found is not None
        assert found.split() != words
        assert sorted(found.split()) == sorted(words)


@pytest.mark.parametrize(
    ("said", "denied"),
    [
        ("It is hot.", "It is not hot."),
        ("It isn't hot.", "It is hot."),
        ("I am not sure.", "I am sure."),
        ("I'm tired.", "I am not tired."),
        ("She's here.", "She is not here."),
        ("I can’t swim.", "I can swim."),
        ("He won't come.", "He will come."),
        ("They never win.", "They always win."),
        ("We love rice.", "We don't love rice."),
        ("Founded in 1969.", "Founded in 1969.".replace("1969", "5969")),
        ("How do you do? Great weather.", None),
        ("Is it hot?", None),
        ("Great weather.", None),
        ("", None),
    ],
)
def test_a_statement_is_denied_or_gets_another_number(said: str, denied: str | None) -> None:
    assert contradicting([said], chance()) == denied


@given(st.integers(0, 10**6))
def test_another_number_is_another(number: int) -> None:
    found = contradicting([f"Room {number} please."], chance())
    assert found is not None
    assert found != f"Room {number} please."
    assert int(found.split()[1]) != number
