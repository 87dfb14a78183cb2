import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.suites.base import MOST_DRAWS, Metric, compared, mean_of, measured


def rows(*values, **fields):
    return [{"id": str(i), "value": value, **fields} for i, value in enumerate(values)]


MEAN = Metric("mean", mean_of(lambda row: row["value"]))


# mean_of


def test_a_mean_is_over_the_rows_that_have_a_value():
    assert mean_of(lambda row: row["value"])(rows(1, None, 0, 0)) == pytest.approx(1 / 3)
    assert mean_of(lambda row: row["value"])(rows(True, False)) == 0.5


@pytest.mark.parametrize("values", [(), (None, None)])
def test_a_mean_of_nothing_is_not_defined(values):
    assert mean_of(lambda row: row["value"])(rows(*values)) is None


# measured


def test_a_share_worked_out_by_hand_has_the_error_of_a_binomial():
    figure = measured(MEAN, rows(*[1] * 30 + [0] * 70))
    assert (figure.value, figure.n, figure.prevalence) == (0.3, 100, None)
    assert figure.error == pytest.approx((0.3 * 0.7 / 100) ** 0.5, rel=0.15)
    assert figure.low == pytest.approx(0.3 - 1.96 * 0.0458, abs=0.03)
    assert figure.high == pytest.approx(0.3 + 1.96 * 0.0458, abs=0.03)


def test_rows_of_a_group_are_drawn_together_which_widens_the_interval():
    pairs = [{"id": f"{i}{side}", "value": i % 2, "pair": str(i)} for i in range(40) for side in "abcd"]
    alone = measured(MEAN, pairs)
    together = measured(Metric("mean", MEAN.of, group=lambda row: row["pair"]), pairs)
    assert together.value == alone.value == 0.5
    assert together.error == pytest.approx(2 * alone.error, rel=0.25)  # four alike rows are worth one


def test_only_the_rows_of_a_metric_count_and_their_prevalence_is_theirs():
    metric = Metric("m", MEAN.of, rows=lambda row: row["value"] > 0, positive=lambda row: row["value"] == 2)
    figure = measured(metric, rows(0, 0, 1, 2, 2, 2))
    assert (figure.value, figure.n, figure.prevalence) == (1.75, 4, 0.75)


@pytest.mark.parametrize("found", [(), (0, 0)])
def test_a_metric_without_rows_is_not_defined(found):
    metric = Metric("m", MEAN.of, rows=lambda row: row["value"] > 0, positive=lambda row: True)
    figure = measured(metric, rows(*found))
    assert (figure.value, figure.low, figure.high, figure.error, figure.n, figure.prevalence) == (None,) * 4 + (0, None)


@pytest.mark.parametrize("nothing", [None, float("nan"), float("inf")])
def test_a_metric_that_gives_no_number_is_not_defined(nothing):
    figure = measured(Metric("m", lambda rows: nothing), rows(1, 0))
    assert (figure.value, figure.low, figure.error, figure.n) == (None, None, None, 2)


def test_one_group_alone_has_no_interval():
    metric = Metric("mean", MEAN.of, group=lambda row: "same")
    figure = measured(metric, rows(1, 0, 0, 0))
    assert (figure.value, figure.low, figure.high, figure.error) == (0.25, None, None, None)


def test_an_interval_needs_a_metric_that_is_defined_on_enough_resamples():
    def of(least):
        return lambda found: float(len(found)) if len({row["id"] for row in found}) >= least else None

    rarely, often = (
        measured(Metric("m", of(least)), rows(*[1] * 8)) for least in (8, 4)
    )  # all eight drawn: 0.24% of resamples
    assert (rarely.value, rarely.low, rarely.error) == (8, None, None)
    assert (often.value, often.low, often.error) == (8, 8, 0)


def test_what_stands_still_has_an_interval_of_no_width():
    figure = measured(MEAN, rows(1, 1, 1))
    assert (figure.value, figure.low, figure.high, figure.error) == (1, 1, 1, 0)


@settings(max_examples=15)
@given(st.lists(st.integers(0, 1), min_size=2, max_size=12), st.integers(0, 5))
def test_the_same_rows_and_seed_give_the_same_figure_and_the_value_lies_in_the_interval(values, seed):
    found = rows(*values)
    figure = measured(MEAN, found, seed)
    assert figure == measured(MEAN, found, seed)
    assert figure.low <= figure.value + 1e-12
    assert figure.value <= figure.high + 1e-12


# compared


def test_a_difference_is_the_second_less_the_first_on_the_rows_that_both_have():
    first = [{"id": id, "value": value} for id, value in (("a", 1), ("b", 0), ("c", 0), ("x", 1))]
    second = [{"id": id, "value": value} for id, value in (("c", 1), ("b", 1), ("a", 1), ("y", 0), ("z", 0))]
    found = compared(MEAN, first, second)
    assert (found.first, found.second) == (pytest.approx(1 / 3), 1)
    assert found.difference == pytest.approx(2 / 3)
    assert (found.n, found.only_first, found.only_second) == (3, 1, 2)


def test_pairing_finds_a_small_difference_among_rows_that_differ_much():
    random = np.random.default_rng(0)
    level = random.normal(0, 10, 60)
    first = rows(*level)
    second = rows(*(level + random.normal(0.5, 1, 60)))
    found = compared(MEAN, first, second)
    assert found.p < 0.01
    assert 0 < found.low < found.difference < found.high < 1.2


def test_a_difference_that_no_resample_denies_has_a_p_that_a_correction_for_many_metrics_cannot_undo():
    found = compared(MEAN, rows(*[0] * 50), rows(*[1] * 50))
    assert found.p == pytest.approx(2 / (MOST_DRAWS + 1))


def test_the_same_rows_twice_differ_by_nothing():
    found = compared(MEAN, rows(1, 0, 1), rows(1, 0, 1))
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_p_is_two_sided():
    up = compared(MEAN, rows(0, 0, 0, 1, 0, 0), rows(1, 1, 0, 0, 1, 0))
    down = compared(MEAN, rows(1, 1, 0, 0, 1, 0), rows(0, 0, 0, 1, 0, 0))
    assert up.p == down.p
    assert up.difference == -down.difference


@pytest.mark.parametrize(("first", "second"), [((), ()), ((1,), ()), ((None, None), (1, 1)), ((1, 0), (None, None))])
def test_a_comparison_of_what_is_not_defined_is_not_defined(first, second):
    found = compared(MEAN, rows(*first), rows(*second))
    assert (found.difference, found.low, found.high, found.p) == (None,) * 4


def test_one_group_alone_has_a_difference_and_no_p():
    found = compared(Metric("mean", MEAN.of, group=lambda row: "same"), rows(0, 0), rows(1, 1))
    assert (found.difference, found.low, found.p) == (1, None, None)


def test_groups_are_drawn_alike_in_both_runs():
    first = [{"id": f"{i}{side}", "value": i % 2, "pair": str(i)} for i in range(10) for side in "ab"]
    second = [{**row, "value": row["value"] + 1} for row in first]
    found = compared(Metric("mean", MEAN.of, group=lambda row: row["pair"]), first, second)
    assert (found.low, found.high) == (pytest.approx(1), pytest.approx(1))
