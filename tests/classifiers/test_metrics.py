"""Measures against cases worked out by hand, and what an interval may and may not say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from classifiers import metrics
from classifiers.metrics import (
    Estimate,
    Measure,
    auprc,
    auroc,
    estimate,
    precision,
    recall,
    recall_at_one_percent,
)


@pytest.mark.parametrize(
    ("measure", "labels", "scores", "expected"),
    [
        (auroc, [0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4], 1.0),
        (auroc, [0, 0, 1, 1], [0.4, 0.3, 0.2, 0.1], 0.0),
        (auroc, [0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 0.75),  # 3 of 4 pairs in order
        (auroc, [0, 1], [0.5, 0.5], 0.5),  # a tie counts half
        (auroc, [0, 0, 1], [0.2, 0.5, 0.5], 0.75),  # one pair in order, one tied
        (auprc, [0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4], 1.0),
        (auprc, [0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 0.5 * 1 + 0.5 * 2 / 3),
        (auprc, [1, 0, 0, 0], [0.5] * 4, 0.25),  # all tied: the prevalence
        (recall, [1, 1, 1, 0], [1, 0, 1, 1], 2 / 3),
        (recall, [1, 0], [0, 1], 0.0),
        (precision, [1, 1, 0, 0], [1, 0, 1, 0], 0.5),
        (precision, [1, 0, 0], [1, 1, 1], 1 / 3),
    ],
)
def test_a_measure_gives_what_was_worked_out_by_hand(
    measure: Measure, labels: list[int], scores: list[float], expected: float
) -> None:
    assert estimate(measure, labels, scores).value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("measure", "labels", "scores"),
    [
        (auroc, [1, 1], [0.1, 0.9]),
        (auroc, [0, 0], [0.1, 0.9]),
        (auprc, [1, 1], [0.1, 0.9]),
        (auprc, [0, 0], [0.1, 0.9]),
        (recall, [0, 0], [0, 1]),
        (precision, [1, 0], [0, 0]),  # nothing was dropped
    ],
)
def test_where_a_measure_is_not_defined_there_is_no_value(
    measure: Measure, labels: list[int], scores: list[float]
) -> None:
    found = estimate(measure, labels, scores)
    assert found == Estimate(None, None, None, 2, sum(labels) / 2)
    assert str(found) == "n/a"


@pytest.mark.parametrize("measure", [auroc, auprc, recall, precision])
def test_no_rows_give_no_value(measure: Measure) -> None:
    assert estimate(measure, [], []) == Estimate(None, None, None, 0, None)


@pytest.mark.parametrize(("measure", "label"), [(recall, 1), (precision, 1), (precision, 0)])
def test_what_needs_one_class_only_is_defined_on_it(measure: Measure, label: int) -> None:
    assert estimate(measure, [label] * 4, [1, 1, 1, 1]).value is not None


def test_an_estimate_says_how_many_rows_it_rests_on_and_how_many_are_unsafe() -> None:
    found = estimate(recall, [1, 0, 0, 0], [1, 0, 0, 0])
    assert (found.n, found.prevalence) == (4, 0.25)
    assert found.as_dict() == {"value": 1.0, "low": 1.0, "high": 1.0, "n": 4, "prevalence": 0.25}
    assert str(found) == "1.000 [1.000, 1.000]"


rows = st.lists(
    st.tuples(st.booleans(), st.floats(0, 1), st.booleans(), st.sampled_from("abcdefgh")), min_size=1, max_size=30
)


@settings(max_examples=10)
@given(rows)
def test_any_rows_have_an_estimate_within_nought_and_one_or_none(rows: list[tuple[bool, float, bool, str]]) -> None:
    labels, scores, dropped, groups = zip(*rows, strict=True)
    for measure in (auroc, auprc, recall, precision):
        given = scores if measure in (auroc, auprc) else np.float64(dropped)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(metrics, "RESAMPLES", 30)
            found = estimate(measure, labels, given, groups)
        if found.value is not None:
            assert 0 <= found.low <= found.high <= 1
            assert 0 <= found.value <= 1


@pytest.mark.parametrize("measure", [auroc, auprc, recall, precision])
def test_the_interval_contains_the_value(measure: Measure) -> None:
    random = np.random.default_rng(1)
    labels = random.random(80) < 0.4
    scores = random.random(80) * 0.6 + labels * 0.3
    found = estimate(measure, labels, scores if measure in (auroc, auprc) else scores > 0.5)
    assert found.low < found.value < found.high


def test_the_interval_narrows_with_more_rows() -> None:
    few, many = (estimate(recall, [1] * 10 * k, ([1] * 7 + [0] * 3) * k) for k in (1, 20))
    assert few.value == many.value
    assert many.high - many.low < (few.high - few.low) / 2


def test_the_same_seed_gives_the_same_interval() -> None:
    labels, scores = [1, 1, 1, 0, 0, 0], [0.9, 0.4, 0.6, 0.5, 0.1, 0.7]
    assert estimate(auroc, labels, scores, seed=3) == estimate(auroc, labels, scores, seed=3)


def test_the_rows_of_a_group_are_drawn_together() -> None:
    dropped = [1] * 40 + [0] * 40
    one_by_one = estimate(recall, [1] * 80, dropped)
    in_two_groups = estimate(recall, [1] * 80, dropped, ["a"] * 40 + ["b"] * 40)
    assert (in_two_groups.low, in_two_groups.high) == (0.0, 1.0)  # both draws may fall on the same group
    assert one_by_one.high - one_by_one.low < 0.3


def test_a_group_is_known_by_its_name_and_not_by_its_place() -> None:
    dropped, groups = [1, 0] * 40, ["a", "b"] * 40
    found = estimate(recall, [1] * 80, dropped, groups)
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)


def test_one_group_has_nothing_to_vary() -> None:
    found = estimate(recall, [1] * 4, [1, 1, 1, 0], ["a"] * 4)
    assert found.low == found.value == found.high == 0.75


# The suites' measures

ties = st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=2, max_size=30).filter(
    lambda rows: 0 < sum(label for label, _ in rows) < len(rows)
)


@given(ties)
def test_the_areas_are_those_of_scikit_learn_ties_and_all(rows: list[tuple[bool, int]]) -> None:
    labels, scores = np.array([label for label, _ in rows]), np.array([score / 4 for _, score in rows])
    assert auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    assert auprc(labels, scores) == pytest.approx(average_precision_score(labels, scores))


SAFE = [i / 1000 for i in range(200)]
"""Two of these may lie above the threshold: .199 and .198."""


@pytest.mark.parametrize(
    ("labels", "scores", "expected"),
    [
        ([1, 1, 0, 0], [0.9, 0.3, 0.4, 0.1], 1 / 2),  # none of two safe rows may be above
        ([1, 1, 0], [0.4, 0.4, 0.4], 0.0),  # a tie is not above
        ([1, 1, 1, *[0] * 200], [0.1975, 0.197, 0.1985, *SAFE], 2 / 3),
        ([1, *[0] * 99], [0.09, *SAFE[:99]], 0.0),  # one in 99 is more than one in a hundred
        ([1, *[0] * 100], [0.0985, *SAFE[:100]], 1.0),
    ],
)
def test_recall_at_one_percent_worked_out_by_hand(labels: list[int], scores: list[float], expected: float) -> None:
    assert estimate(recall_at_one_percent, labels, scores).value == pytest.approx(expected)


@pytest.mark.parametrize("label", [0, 1])
def test_recall_at_one_percent_needs_both_classes(label: int) -> None:
    assert estimate(recall_at_one_percent, [label] * 3, [0.1, 0.2, 0.3]).value is None
