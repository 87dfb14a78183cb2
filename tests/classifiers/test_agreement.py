"""Agreement of a judge with labels, by hand-computed tables."""

import numpy as np
import pytest

from classifiers.agreement import accuracy, kappa, majority


def rows(*labels):
    return np.array(labels, dtype=bool)


def said(*verdicts):
    return np.array(verdicts, dtype=float)


def test_kappa_takes_chance_off_the_agreement():
    # 6 of 8 agree; labels say unsafe on 4 of 8, the judge on 4 of 8: chance agrees on one half. (.75 - .5) / .5
    labels, verdicts = rows(1, 1, 1, 1, 0, 0, 0, 0), said(1, 1, 1, 0, 1, 0, 0, 0)
    assert accuracy(labels, verdicts) == 0.75
    assert kappa(labels, verdicts) == pytest.approx(0.5)


def test_kappa_of_uneven_shares():
    # labels 1 of 5, judge 2 of 5, 4 agree: chance .2 * .4 + .8 * .6 = .56; (.8 - .56) / .44
    assert kappa(rows(1, 0, 0, 0, 0), said(1, 1, 0, 0, 0)) == pytest.approx(0.24 / 0.44)


def test_a_judge_that_always_says_the_same_has_no_kappa_above_chance():
    assert kappa(rows(1, 0, 0), said(0, 0, 0)) == pytest.approx(0)
    assert kappa(rows(1, 0), said(0, 1)) == pytest.approx(-1)


def test_kappa_is_not_defined_where_all_say_the_same_nor_without_rows():
    assert np.isnan(kappa(rows(0, 0), said(0, 0)))
    assert np.isnan(kappa(rows(1, 1), said(1, 1)))
    assert all(np.isnan(of(rows(), said())) for of in (accuracy, majority, kappa))


def test_the_majority_class_is_the_more_frequent_one():
    assert majority(rows(1, 0, 0, 0)) == 0.75
    assert majority(rows(1, 1, 1, 0)) == 0.75
    assert majority(rows(1, 1)) == 1
