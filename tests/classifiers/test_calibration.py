"""A certified threshold keeps its promise, over many draws and against the binomial tail worked out without scipy."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from classifiers.calibration import ALPHAS, DELTA, GRID, certify, expected_calibration_error, platt, rows_needed
from classifiers.policy import PRESETS

scores = st.floats(0, 1)
samples = st.builds(
    lambda low, high, n: [*low, *[high] * n], st.lists(scores, max_size=12), scores, st.integers(0, 120)
)
"""A few scores anywhere and many at one place, so that there is often something to certify."""
alphas = st.sampled_from([0.05, 0.1, 0.2, 0.5])
deltas = st.sampled_from([0.01, 0.05, 0.2])


def tail(missed: int, n: int, alpha: float) -> float:
    """The chance of at most so many misses among n where each is missed with probability alpha."""
    return math.fsum(math.comb(n, k) * alpha**k * (1 - alpha) ** (n - k) for k in range(missed + 1))


def below(value: float) -> float:
    """The highest threshold of the grid that is not above the value; the lowest where all are."""
    return float(max(GRID[value >= GRID], default=GRID[0]))


def sigmoid(z: NDArray[Any]) -> NDArray[Any]:
    return 1 / (1 + np.exp(-z))


TRUE = float(GRID[12])
"""In the world of the next two tests a hair more than alpha of the scores lies below this one."""


def draw(random: np.random.Generator, n: int, alpha: float) -> NDArray[Any]:
    return np.minimum(TRUE * np.cbrt(random.random(n) / (alpha * 1.0001)), 1)


def true_miss_rate(threshold: float, alpha: float) -> float:
    return min(alpha * 1.0001 * (threshold / TRUE) ** 3, 1)


@pytest.mark.parametrize(("alpha", "delta", "n"), [(0.2, 0.05, 100), (0.1, 0.1, 60), (0.05, 0.05, 93)])
def test_the_true_miss_rate_exceeds_alpha_in_no_more_than_delta_of_the_draws(
    alpha: float, delta: float, n: int
) -> None:
    """The worst case: a threshold of the grid is barely too high, so that accepting it is a broken promise."""
    draws = 600
    random = np.random.default_rng(0)
    found = [certify(draw(random, n, alpha), [], alpha, delta) for _ in range(draws)]
    broken = sum(f.certified and true_miss_rate(f.threshold, alpha) > alpha for f in found)
    assert broken <= binom.isf(1e-9, draws, delta)
    assert broken > 0, "so careful that the draws cannot tell a promise kept from nothing promised"
    assert np.mean([f.certified for f in found]) > 0.5


def test_the_quantile_of_the_rows_at_hand_would_break_the_promise_in_half_of_the_draws() -> None:
    """What the law above is there for: in the same world the plain quantile keeps no promise."""
    random = np.random.default_rng(0)
    plain = [float(np.quantile(draw(random, 100, 0.2), 0.2)) for _ in range(600)]
    assert np.mean([true_miss_rate(threshold, 0.2) > 0.2 for threshold in plain]) > 0.4


@settings(max_examples=60)
@given(samples, alphas, deltas)
def test_every_grid_point_up_to_a_certified_threshold_passes_and_the_next_one_fails(
    unsafe: list[float], alpha: float, delta: float
) -> None:
    found = certify(unsafe, [], alpha, delta)
    assume(found.certified)
    assert found.threshold in GRID
    for point in GRID[found.threshold >= GRID]:
        assert tail(sum(s < point for s in unsafe), len(unsafe), alpha) <= delta * (1 + 1e-9)
    for point in GRID[found.threshold < GRID][:1]:
        assert tail(sum(s < point for s in unsafe), len(unsafe), alpha) > delta * (1 - 1e-9)


@settings(max_examples=60)
@given(samples, alphas, deltas)
def test_nothing_is_certified_exactly_where_the_lowest_threshold_fails(
    unsafe: list[float], alpha: float, delta: float
) -> None:
    lowest = tail(sum(s < GRID[0] for s in unsafe), len(unsafe), alpha)
    assume(abs(lowest - delta) > 1e-9)
    assert certify(unsafe, [], alpha, delta).certified == (lowest < delta)


@settings(max_examples=60)
@given(samples, st.data(), alphas)
def test_more_misses_never_raise_a_certified_threshold(unsafe: list[float], data: st.DataObject, alpha: float) -> None:
    shares = data.draw(st.lists(scores, max_size=12))
    lower = certify([s * share for s, share in zip(unsafe, shares, strict=False)] + unsafe[len(shares) :], [], alpha)
    assume(lower.certified)
    before = certify(unsafe, [], alpha)
    assert before.certified
    assert lower.threshold <= before.threshold


@settings(max_examples=60)
@given(samples, alphas)
def test_a_larger_alpha_never_lowers_a_certified_threshold(unsafe: list[float], alpha: float) -> None:
    strict = certify(unsafe, [], alpha)
    assume(strict.certified)
    lax = certify(unsafe, [], alpha * 1.5)
    assert lax.certified
    assert strict.threshold <= lax.threshold


@settings(max_examples=40)
@given(st.lists(scores, max_size=30), st.lists(scores, max_size=5), alphas, deltas)
@example([], [], 0.05, 0.05)
@example([0.0] * 100, [0.0], 0.05, 0.05)
@example([1.0] * 100, [1.0], 0.05, 0.05)
@example([5e-324], [], 0.5, 0.01)
def test_a_threshold_is_one_that_a_policy_accepts_and_its_counts_are_the_rows_own(
    unsafe: list[float], safe: list[float], alpha: float, delta: float
) -> None:
    found = certify(unsafe, safe, alpha, delta)
    assert 0 < found.threshold <= 1
    assert (found.n, found.safe, found.alpha, found.delta) == (len(unsafe), len(safe), alpha, delta)
    assert found.missed == sum(s < found.threshold for s in unsafe)
    refused = sum(s >= found.threshold for s in safe)
    assert found.over_refusal == (pytest.approx(refused / len(safe)) if safe else None)
    assert found.needed == rows_needed(alpha, delta)


@settings(max_examples=30)
@given(samples, st.lists(scores, max_size=5))
def test_safe_scores_do_not_move_the_threshold(unsafe: list[float], safe: list[float]) -> None:
    with_safe, without = certify(unsafe, safe, 0.1), certify(unsafe, [], 0.1)
    assert (with_safe.threshold, with_safe.certified) == (without.threshold, without.certified)


@pytest.mark.parametrize(
    ("unsafe", "threshold", "certified", "missed"),
    [
        ([0.5] * 59, 0.5, True, 0),  # 0.95^59 = 0.0485
        ([0.5] * 58, 0.5, False, 0),  # 0.95^58 = 0.0510
        ([0.2] + [0.8] * 92, below(0.8), True, 1),  # one miss in 93: 0.04998
        ([0.2] + [0.8] * 91, below(0.2), True, 0),  # one miss in 92: 0.0522
        ([1.0] * 59, float(GRID[-1]), True, 0),
        ([0.0] * 1000, float(GRID[0]), False, 1000),
        ([0.1, 0.9], below(0.1 + 0.05 * 0.8), False, 1),  # too few: the plain quantile
        ([0.3], below(0.3), False, 0),
        ([], 0.5, False, 0),
    ],
)
def test_a_threshold_is_what_was_worked_out_by_hand(
    unsafe: list[float], threshold: float, certified: bool, missed: int
) -> None:
    found = certify(unsafe, [], 0.05, 0.05)
    assert (found.threshold, found.certified, found.missed) == (threshold, certified, missed)


def test_a_score_at_the_threshold_counts_as_at_or_above_it() -> None:
    found = certify([GRID[100]] * 59, [GRID[99], GRID[100], GRID[101], 1.0], 0.05)
    assert found.threshold == GRID[100]
    assert (found.missed, found.over_refusal) == (0, 0.75)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -0.001, 1.001])
def test_a_score_that_is_no_probability_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="not a probability"):
        certify([0.5] * 60 + [bad], [0.5], 0.05)
    with pytest.raises(ValueError, match="not a probability"):
        certify([0.5] * 60, [0.5, bad], 0.05)


@pytest.mark.parametrize("bad", [0, 1, -0.1, 1.5, math.nan])
def test_an_alpha_or_delta_that_promises_nothing_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        certify([0.5] * 60, [], bad)
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        certify([0.5] * 60, [], 0.05, bad)


@pytest.mark.parametrize(
    ("alpha", "delta", "rows"),
    [
        (0.05, 0.05, 59),
        (0.1, 0.05, 29),
        (0.2, 0.05, 14),
        (0.05, 0.01, 90),
        (0.5, 0.25, 2),
        (0.5, 0.125, 3),
        (0.9, 0.5, 1),
    ],
)
def test_the_rows_needed_are_the_exact_edge_of_what_can_be_certified(alpha: float, delta: float, rows: int) -> None:
    assert rows_needed(alpha, delta) == rows
    assert certify([1.0] * rows, [], alpha, delta).certified
    assert not certify([1.0] * (rows - 1), [], alpha, delta).certified


def test_the_rows_needed_are_for_the_usual_confidence_unless_another_is_given() -> None:
    assert rows_needed(0.1) == rows_needed(0.1, DELTA) == certify([], [], 0.1).needed
    assert certify([], [], 0.1).delta == DELTA == 0.05


def test_the_grid_rises_evenly_in_the_logit_within_0_and_1() -> None:
    assert len(GRID) == 281
    assert GRID[0] > 0
    assert GRID[-1] < 1
    assert (np.diff(GRID) >= 0).all()
    middle = GRID[60:221]  # further out the four decimals show
    assert np.diff(np.log(middle / (1 - middle))) == pytest.approx(np.full(160, 0.05), abs=0.003)


def test_every_preset_has_its_share_and_a_stricter_one_lets_less_pass() -> None:
    assert tuple(ALPHAS) == PRESETS
    assert 0 < ALPHAS["strict"] < ALPHAS["balanced"] < ALPHAS["permissive"] < 1


def test_a_threshold_can_be_written_as_json() -> None:
    found = certify(np.array([0.2, 0.9]), np.array([0.1], dtype=np.float32), 0.05)
    row = json.loads(json.dumps(found.as_dict()))
    assert row == found.as_dict()
    assert list(row) == ["threshold", "certified", "alpha", "delta", "n", "missed", "needed", "safe", "over_refusal"]


labelled = st.lists(st.tuples(st.floats(-50, 50), st.booleans()), max_size=30)


@settings(max_examples=50)
@given(labelled)
@example([(1, True), (2, True), (3, False), (4, False)])  # quite the wrong way round
@example([(0, True), (0, False)])
def test_calibration_never_turns_an_order_round(rows: list[tuple[float, bool]]) -> None:
    slope, offset = platt([x for x, _ in rows], [y for _, y in rows])
    assert slope >= 0
    assert math.isfinite(slope)
    assert math.isfinite(offset)


@pytest.mark.parametrize("slope", [0.02, 0.3, 1, 2.5, 40])
@pytest.mark.parametrize("offset", [-3, 0, 2])
def test_a_known_line_is_found_again(slope: float, offset: float) -> None:
    random = np.random.default_rng(0)
    z = random.normal(0, 3, 4000)
    found = platt((z - offset) / slope, random.random(4000) < sigmoid(z))
    assert found[0] == pytest.approx(slope, rel=0.1)
    assert found[1] == pytest.approx(offset, abs=0.25)


def test_two_separated_places_get_the_smoothed_targets_of_platt() -> None:
    """Of 3 unsafe rows the target is 4/5, of 4 safe ones 1/6; a line through two places can meet both."""
    slope, offset = platt([-1.0] * 4 + [1.0] * 3, [0] * 4 + [1] * 3)
    assert sigmoid(np.array([offset - slope, offset + slope])) == pytest.approx([1 / 6, 4 / 5], abs=1e-3)


@pytest.mark.parametrize("logits", [[0.0] * 10, [*range(10)]], ids=["all the same", "the wrong way round"])
def test_logits_that_tell_nothing_give_the_share_of_the_targets(logits: list[float]) -> None:
    slope, offset = platt(logits, [1] * 3 + [0] * 7)
    share = (3 * 4 / 5 + 7 * 1 / 9) / 10
    assert sigmoid(slope * np.array(logits) + offset) == pytest.approx(np.full(10, share), abs=1e-3)


@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 0, 0], []])
def test_one_class_alone_leaves_the_logits_as_they_are(labels: list[int]) -> None:
    assert platt([-2.0, 0.5, 3.0][: len(labels)], labels) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("labels", "probabilities", "bins", "expected"),
    [
        ([1, 0], [1.0, 0.0], 10, 0.0),
        ([0, 1], [1.0, 0.0], 10, 1.0),
        ([1, 0, 1, 0], [0.8] * 4, 10, 0.3),
        ([0, 1, 1], [0.15, 0.15, 0.95], 10, 2 / 3 * 0.35 + 1 / 3 * 0.05),  # weighted by rows
        ([0, 1], [1.0, 0.95], 10, 0.975 - 0.5),  # 1.0 is of the last bin, not of one beyond
        ([1, 0], [0.9, 0.1], 1, 0.0),
        ([1, 0], [0.9, 0.1], 2, 0.1),
        ([0, 1], [0.5, 0.9], 2, 0.2),  # an edge is of the bin above it
        ([1, 0, 0, 0], [0.2, 0.2, 0.7, 0.7], 10, 0.5 * 0.3 + 0.5 * 0.7),  # gaps do not cancel
    ],
)
def test_the_calibration_error_is_what_was_worked_out_by_hand(
    labels: list[int], probabilities: list[float], bins: int, expected: float
) -> None:
    assert expected_calibration_error(labels, probabilities, bins) == pytest.approx(expected)


def test_ten_bins_unless_told_otherwise() -> None:
    rows = [1, 0, 1, 0], [0.12, 0.18, 0.22, 0.31]
    assert expected_calibration_error(*rows) == expected_calibration_error(*rows, 10)
    assert expected_calibration_error(*rows) != expected_calibration_error(*rows, 5)


@given(st.lists(st.tuples(st.booleans(), scores), min_size=1, max_size=20), st.integers(1, 20), st.randoms())
def test_the_calibration_error_is_a_share_that_no_order_of_rows_changes(
    rows: list[tuple[bool, float]], bins: int, random: Any
) -> None:
    found = expected_calibration_error([y for y, _ in rows], [p for _, p in rows], bins)
    assert 0 <= found <= 1
    random.shuffle(rows)
    assert expected_calibration_error([y for y, _ in rows], [p for _, p in rows], bins) == pytest.approx(found)


def test_scores_that_mean_what_they_say_have_almost_no_calibration_error() -> None:
    random = np.random.default_rng(0)
    p = random.random(20_000)
    y = random.random(20_000) < p
    assert expected_calibration_error(y, p) < 0.02
    assert expected_calibration_error(y, np.sqrt(p)) > 0.1
