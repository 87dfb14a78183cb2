"""Choice among next turns, rank correlation and pairs in order, on cases counted by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers.quality_measures import (
    by_chance,
    choices,
    in_order,
    mean_figure,
    spearman,
    spearman_figure,
    standing,
)
from classifiers.quality_sets import Answers, NextTurn, RatedReply


@pytest.mark.parametrize(
    ("scores", "hit", "rank"),
    [
        ([0.9, 0.1, 0.5], 1.0, 1.0),
        ([0.5, 0.1, 0.9], 0.0, 1 / 2),
        ([0.1, 0.5, 0.9], 0.0, 1 / 3),
        ([0.5, 0.5, 0.1], 1 / 2, (1 + 1 / 2) / 2),
        ([0.5, 0.5, 0.9], 0.0, (1 / 2 + 1 / 3) / 2),
        ([0.5], 1.0, 1.0),
    ],
)
def test_the_standing_of_the_true_one_among_others(scores: list[float], hit: float, rank: float) -> None:
    assert standing(scores) == pytest.approx((hit, rank))


def test_there_is_no_standing_among_none() -> None:
    with pytest.raises(ValueError, match="nothing to choose among"):
        standing([])


def test_chance_among_sixteen_hits_one_in_sixteen() -> None:
    hit, rank = by_chance(16)
    assert hit == 1 / 16
    assert rank == pytest.approx(sum(1 / i for i in range(1, 17)) / 16)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=8))
def test_a_standing_lies_between_none_and_one(scores: list[float]) -> None:
    hit, rank = standing(scores)
    assert 0 <= hit <= rank <= 1


@pytest.mark.parametrize(
    ("one", "other", "value"),
    [
        ([1, 2, 3], [10, 20, 30], 1.0),
        ([1, 2, 3], [3, 2, 1], -1.0),
        ([1, 2, 3, 4], [1, 3, 2, 4], 0.8),
        ([1, 1, 2, 2], [1, 2, 1, 2], 0.0),
    ],
)
def test_rank_correlation_by_hand(one: list[float], other: list[float], value: float) -> None:
    assert spearman(one, other) == pytest.approx(value)


@pytest.mark.parametrize(("one", "other"), [([], []), ([1], [2]), ([1, 1], [1, 2]), ([1, 2], [3, 3])])
def test_what_does_not_vary_has_no_rank_correlation(one: list[float], other: list[float]) -> None:
    assert math.isnan(spearman(one, other))
    assert spearman_figure(one, other, ["g"] * len(one))["value"] is None


def test_figures_have_intervals_over_groups_and_their_n() -> None:
    found = mean_figure([1.0, 1.0, 0.0, 0.0], ["a", "a", "b", "b"])
    assert (found["value"], found["low"], found["high"], found["n"]) == (0.5, 0.0, 1.0, 4)
    assert mean_figure([], []) == {"value": None, "low": None, "high": None, "n": 0}
    perfect = spearman_figure(range(9), range(9), list("abcdefghi"))
    assert (perfect["value"], perfect["high"], perfect["n"]) == (pytest.approx(1.0), pytest.approx(1.0), 9)


def rated(group: str, answers: Answers) -> RatedReply:
    return RatedReply(f"{group}{answers}", (), "x", answers, "rated", group, "own", "test")


GENERIC, SPECIFIC, NONSENSE = (True, False, None), (True, True, False), (False, None, None)


def test_pairs_are_of_one_context_a_generic_and_a_specific_reply() -> None:
    rows = [rated("a", GENERIC), rated("a", SPECIFIC), rated("a", SPECIFIC), rated("b", SPECIFIC), rated("a", NONSENSE)]
    assert in_order(rows, [0.5, 0.9, 0.1, 0.0, 1.0]) == [("a", 1.0), ("a", 0.0)]
    assert in_order(rows, [0.5] * 5) == [("a", 0.5), ("a", 0.5)]
    assert in_order([rated("a", GENERIC), rated("b", SPECIFIC)], [0.1, 0.9]) == []
    assert in_order([], []) == []


def turns(count: int, source: str = "talk", split: str = "test") -> list[NextTurn]:
    return [
        NextTurn(f"{source}{split}{i}", (("user", "?"),), f"{source} {split} {i}", f"{source}{i}", source, split)
        for i in range(count)
    ]


def test_the_true_turn_stands_first_among_others_of_its_source_and_split() -> None:
    given = [*turns(6), *turns(6, "chat"), *turns(6, split="train")]
    found = choices(given, "test", 4, among=5)
    assert len(found) == 8
    for pick in found:
        assert len(set(pick.replies)) == 5
        assert all(reply.startswith(f"{pick.source} test") for reply in pick.replies)
        assert pick.replies[0].split()[-1] == pick.group.removeprefix(pick.source)


def test_where_there_are_too_few_others_nothing_is_chosen() -> None:
    assert choices(turns(4), "test", 4, among=5) == []
