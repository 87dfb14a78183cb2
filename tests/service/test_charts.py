"""Marks of charts, at places worked out by hand."""

import pytest

from service.charts import BAR, SIDE, bar, curve, latencies


def points(found):
    return [tuple(float(n) for n in point.split(",")) for point in found.path.split()]


def test_a_perfect_ranking_runs_along_the_top_of_the_square():
    found = curve("hate", [False, False, True], [0.1, 0.2, 0.9])
    assert found.average_precision == 1.0
    assert (found.n, found.positive) == (3, 1)
    assert found.chance == pytest.approx(SIDE * 2 / 3)
    assert (SIDE, 0.0) in points(found)
    assert (0.0, 0.0) in points(found)


def test_precision_and_recall_are_where_they_belong():
    # At .8: one of two is right, all are found; at .9: none is.
    found = curve("hate", [True, False], [0.8, 0.9])
    assert (SIDE, SIDE / 2) in points(found)
    assert found.average_precision == pytest.approx(0.5)


def test_there_is_no_curve_of_one_class_or_of_nothing():
    assert curve("x", [], []) is None
    assert curve("x", [True, True], [0.1, 0.2]) is None
    assert curve("x", [False], [0.1]) is None


def test_a_calibration_dot_is_the_mean_score_and_share_of_its_bin():
    first, last = curve("x", [False, True, True, True], [0.02, 0.08, 1.0, 0.96]).dots
    assert (first.n, first.score, first.share) == (2, pytest.approx(0.05), 0.5)
    assert (last.n, last.score, last.share) == (2, pytest.approx(0.98), 1.0)
    assert (first.x, first.y) == (pytest.approx(SIDE * 0.05), SIDE / 2)


def test_a_curve_of_many_exchanges_keeps_its_ends_and_has_no_more_points_than_pixels():
    scores = [i / 5000 for i in range(5000)]
    found = points(curve("x", [i % 3 == 0 for i in range(5000)], scores))
    assert len(found) < 4 * SIDE
    assert {found[0][0], found[-1][0]} == {0.0, float(SIDE)}


def test_an_interval_bar_lies_on_the_scale_from_0_to_1():
    found = bar(0.5, 0.4, 0.6, 0.25, 0.92)
    assert (found.value, found.low, found.high, found.baseline) == (BAR / 2, BAR * 0.4, BAR * 0.6, 37.5)
    assert found.target == BAR * 0.92
    assert bar(None, None, None, None, None) is None
    assert bar(3.0, None, None, None, None) is None
    assert bar(0.5, -0.1, None, None, 4.0).low is None


def test_latency_bars_share_one_scale():
    whole, ground = latencies({"whole": [float(n) for n in range(101)], "ground": [1.0], "none": []}, 200)
    assert whole.seconds == (50.0, 95.0, 99.0)
    assert whole.places[2] == 200
    assert ground.seconds == (1.0, 1.0, 1.0)
    assert ground.places[0] == pytest.approx(200 / 99, abs=0.1)
    assert latencies({}, 200) == []
    assert latencies({"x": [0.0]}, 200)[0].places == (0.0, 0.0, 0.0)
