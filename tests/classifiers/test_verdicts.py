"""Law 1, the arithmetic of it: what has no proper score for every objective is dropped, and nothing that is worse is kept."""

import math
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers.policy import ACTIONS, OBJECTIVES, PRESETS, Policy, load_policy
from classifiers.verdicts import Place, Reason, Scores, Verdict, judge, unscored

probabilities = st.floats(0, 1)
scores = st.fixed_dictionaries(dict.fromkeys(OBJECTIVES, probabilities))
names = st.sampled_from(OBJECTIVES)
nonsense = (
    st.sampled_from(
        [math.nan, math.inf, -math.inf, None, True, False, -0.1, 1.1, 10**400, -(10**400), 0.5j, np.array(0.5)]
    )
    | st.floats(max_value=0, exclude_max=True)
    | st.floats(min_value=1, exclude_min=True)
    | st.text()
    | st.binary()
    | st.lists(probabilities)
    | st.dictionaries(st.text(), probabilities)
)
thresholds = st.fixed_dictionaries({name: st.floats(0, 1, exclude_min=True) for name in OBJECTIVES})
actions = st.fixed_dictionaries({name: st.sampled_from(ACTIONS) for name in OBJECTIVES})


def policy_with(
    thresholds: dict[str, float] | None = None, actions: dict[str, str] | None = None, preset: str = "balanced"
) -> Policy:
    shipped = load_policy(preset)
    changed = {
        name: replace(
            o,
            threshold=(thresholds or {}).get(name, o.threshold),
            action=(actions or {}).get(name, o.action),
        )
        for name, o in shipped.objectives.items()
    }
    return replace(shipped, objectives=changed)


def scored(**given: float) -> dict[str, float]:
    return {name: given.get(name, 0.0) for name in OBJECTIVES}


@given(scores=scores, name=names, bad=nonsense, preset=st.sampled_from(PRESETS))
def test_a_score_that_is_not_a_probability_drops_as_unscored(
    scores: dict[str, Any], name: str, bad: object, preset: str
) -> None:
    assert judge(scores | {name: bad}, load_policy(preset)) == unscored()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, None, True, False, -5e-324, 1.0000001, 10**400, "0.1"])
def test_a_bad_score_among_good_ones_drops(bad: object) -> None:
    assert judge(scored() | {"hate": bad}, load_policy()) == unscored()


@given(scores=scores, name=names, actions=actions)
def test_a_missing_score_drops_as_unscored_whatever_the_actions(
    scores: dict[str, float], name: str, actions: dict[str, str]
) -> None:
    del scores[name]
    assert judge(scores, policy_with(actions=actions)) == unscored()


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | names, inner),
    max_leaves=10,
)


@given(anything | st.dictionaries(names, anything))
def test_no_input_makes_judging_raise_and_what_is_kept_has_a_probability_for_every_objective(found: object) -> None:
    verdict = judge(found, load_policy())
    if not verdict.dropped:
        assert isinstance(found, dict)
        assert set(OBJECTIVES) <= set(found)
        assert all(0 <= found[name] <= 1 for name in OBJECTIVES)


@pytest.mark.parametrize("found", [None, math.nan, 0.0, "safe", [], [0.0] * 15, {}, {"hate": 0.0}])
def test_what_is_not_a_full_mapping_of_scores_is_dropped(found: object) -> None:
    assert judge(found, load_policy()) == unscored()


def test_unscored_is_the_worst_verdict_and_names_no_objective() -> None:
    assert unscored() == Verdict(scores={}, unsafe=1.0, dropped=True, because=("unscored",), flagged=())


def test_any_mapping_of_scores_will_do() -> None:
    assert not judge(MappingProxyType(scored()), load_policy()).dropped


def test_scores_of_unknown_objectives_are_left_out() -> None:
    assert judge(scored() | {"rudeness": 1.0}, load_policy()) == judge(scored(), load_policy())


@given(name=names, threshold=st.floats(1e-6, 1))
def test_a_score_at_the_threshold_drops_and_one_just_below_is_kept(name: str, threshold: float) -> None:
    policy = policy_with({name: threshold})
    assert judge(scored(**{name: threshold}), policy).because == (name,)
    assert not judge(scored(**{name: math.nextafter(threshold, 0)}), policy).dropped


@given(scores=scores, thresholds=thresholds)
def test_a_flag_objective_reports_and_does_not_drop(scores: dict[str, float], thresholds: dict[str, float]) -> None:
    verdict = judge(scores, policy_with(thresholds, dict.fromkeys(OBJECTIVES, "flag")))
    assert not verdict.dropped
    assert verdict.because == ()
    assert set(verdict.flagged) == {name for name in OBJECTIVES if scores[name] >= thresholds[name]}


@given(scores=scores, thresholds=thresholds, actions=actions)
def test_a_reply_is_dropped_exactly_when_a_drop_objective_is_reached(
    scores: dict[str, float], thresholds: dict[str, float], actions: dict[str, str]
) -> None:
    verdict = judge(scores, policy_with(thresholds, actions))
    reached = {name for name in OBJECTIVES if scores[name] >= thresholds[name]}
    assert set(verdict.because) == {name for name in reached if actions[name] == "drop"}
    assert set(verdict.flagged) == {name for name in reached if actions[name] == "flag"}
    assert verdict.dropped == bool(verdict.because)
    assert verdict.scores == scores
    assert verdict.unsafe == max(scores.values())


@given(scores=scores, thresholds=thresholds, actions=actions)
def test_reasons_are_ordered_by_score(
    scores: dict[str, float], thresholds: dict[str, float], actions: dict[str, str]
) -> None:
    verdict = judge(scores, policy_with(thresholds, actions))
    for names in (verdict.because, verdict.flagged):
        assert [scores[n] for n in names] == sorted((scores[n] for n in names), reverse=True)


@given(scores=scores, high=thresholds, low=thresholds, actions=actions)
def test_lowering_thresholds_never_turns_dropped_into_kept(
    scores: dict[str, float], high: dict[str, float], low: dict[str, float], actions: dict[str, str]
) -> None:
    before = judge(scores, policy_with(high, actions))
    after = judge(scores, policy_with({name: min(high[name], low[name]) for name in OBJECTIVES}, actions))
    assert set(before.because) <= set(after.because)
    assert set(before.flagged) <= set(after.flagged)
    assert after.dropped or not before.dropped


@given(scores=scores, more=scores, thresholds=thresholds)
def test_higher_scores_never_turn_dropped_into_kept(
    scores: dict[str, float], more: dict[str, float], thresholds: dict[str, float]
) -> None:
    policy = policy_with(thresholds)
    worse = {name: max(scores[name], more[name]) for name in OBJECTIVES}
    assert judge(worse, policy).dropped or not judge(scores, policy).dropped


@given(scores=scores)
def test_what_a_looser_preset_drops_a_stricter_one_drops_too(scores: dict[str, float]) -> None:
    strict, balanced, permissive = (judge(scores, load_policy(preset)).dropped for preset in PRESETS)
    assert strict >= balanced >= permissive


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_preset_drops_at_its_own_threshold_and_keeps_just_below(name: str, preset: str) -> None:
    policy = load_policy(preset)
    threshold = policy.objectives[name].threshold
    at, below = (judge(scored(**{name: score}), policy) for score in (threshold, math.nextafter(threshold, 0)))
    assert (*at.because, *at.flagged) == (name,)
    assert (*below.because, *below.flagged) == ()


def test_permissive_still_drops_weapons_and_child_exploitation_at_one_half() -> None:
    for name in ("weapons", "child_exploitation"):
        assert judge(scored(**{name: 0.5}), load_policy("permissive")).because == (name,)


def test_a_reply_that_violates_two_objectives_names_the_worse_one_first() -> None:
    verdict = judge(scored(hate=0.7, violence=0.9), policy_with({"hate": 0.5, "violence": 0.5}))
    assert verdict.because == ("violence", "hate")
    assert verdict.unsafe == 0.9


def place_of(name: str, reading: str = "raw") -> Place:
    return Place(f"About {name}.", 3, 3 + len(f"About {name}."), reading)


def reading_of(scores: dict[str, float], reading: str = "raw", unsafe: float = 0.5) -> Scores:
    return Scores(scores, unsafe, {name: place_of(name, reading) for name in scores})


def test_scores_are_a_plain_mapping_with_the_overall_probability_and_the_places_beside() -> None:
    found = reading_of(scored(hate=0.9), unsafe=0.4)
    assert found == scored(hate=0.9)
    assert found.unsafe == 0.4
    assert found.places["hate"] == place_of("hate")


@given(scores=scores, unsafe=probabilities, thresholds=thresholds, actions=actions)
def test_the_overall_probability_is_the_scores_own_and_decides_nothing(
    scores: dict[str, float], unsafe: float, thresholds: dict[str, float], actions: dict[str, str]
) -> None:
    policy = policy_with(thresholds, actions)
    plain, full = judge(scores, policy), judge(Scores(scores, unsafe, {}), policy)
    assert full == replace(plain, unsafe=unsafe)
    assert plain.unsafe == max(scores.values())


@given(scores=scores, bad=nonsense)
def test_an_overall_probability_that_is_none_drops_as_unscored(scores: dict[str, float], bad: Any) -> None:
    assert judge(Scores(scores, bad, {}), load_policy()) == unscored()


def test_places_that_are_none_do_not_make_judging_raise() -> None:
    class Odd(dict[str, float]):
        places = None

    assert judge(Odd(scored(hate=1.0)), load_policy()).dropped


@given(scores=scores, thresholds=thresholds, actions=actions)
def test_every_objective_that_was_reached_is_explained_highest_score_first(
    scores: dict[str, float], thresholds: dict[str, float], actions: dict[str, str]
) -> None:
    verdict = judge(reading_of(scores), policy_with(thresholds, actions))
    if verdict.because or verdict.flagged:
        assert {reason.objective for reason in verdict.reasons} == {*verdict.because, *verdict.flagged}
        assert len(verdict.reasons) == len(verdict.because) + len(verdict.flagged)
    found = [reason.score for reason in verdict.reasons]
    assert found == sorted(found, reverse=True)
    for reason in verdict.reasons:
        name = reason.objective
        assert reason == Reason(name, scores[name], thresholds[name], place_of(name))


@given(scores=scores, thresholds=thresholds)
def test_of_a_text_that_reached_nothing_the_objective_that_came_nearest_is_named(
    scores: dict[str, float], thresholds: dict[str, float]
) -> None:
    low = {name: scores[name] * thresholds[name] * 0.99 for name in OBJECTIVES}
    verdict = judge(low, policy_with(thresholds))
    if not verdict.dropped:  # of the smallest numbers the product is rounded up
        [reason] = verdict.reasons
        shares = {name: low[name] / thresholds[name] for name in OBJECTIVES}
        assert shares[reason.objective] == max(shares.values())


def test_near_is_measured_against_the_threshold_and_not_by_the_score() -> None:
    policy = policy_with({"hate": 0.9, "weapons": 0.2})
    verdict = judge(reading_of(scored(hate=0.5, weapons=0.19)), policy)
    assert not verdict.dropped
    assert verdict.reasons == (Reason("weapons", 0.19, 0.2, place_of("weapons")),)


def test_a_verdict_of_plain_scores_has_reasons_without_a_place() -> None:
    policy = policy_with({"hate": 0.5})
    assert judge(scored(hate=0.75), policy).reasons == (Reason("hate", 0.75, 0.5, None),)
    assert judge(scored(hate=0.25), policy).reasons == (Reason("hate", 0.25, 0.5, None),)


def test_what_could_not_be_judged_has_no_reasons() -> None:
    assert judge(scored() | {"hate": math.nan}, load_policy()).reasons == ()


@pytest.fixture
def with_own() -> Policy:
    """A policy with an objective of the user's own."""
    shipped = load_policy()
    own = replace(shipped.objectives["hate"], name="rudeness", code="own", threshold=0.5, head="somewhere")
    return replace(shipped, objectives={**shipped.objectives, "rudeness": own})


def test_an_objective_of_the_users_own_needs_a_score_too_and_can_drop(with_own: Policy) -> None:
    assert judge(scored(), with_own) == unscored()
    assert judge(scored() | {"rudeness": math.nan}, with_own) == unscored()
    assert judge(scored() | {"rudeness": 0.5}, with_own).because == ("rudeness",)
    kept = judge(scored() | {"rudeness": 0.49}, with_own)
    assert not kept.dropped
    assert kept.scores["rudeness"] == 0.49


numbers = probabilities | st.just(math.nan)
readings = st.tuples(st.fixed_dictionaries(dict.fromkeys(OBJECTIVES, numbers)), numbers)


def numbers_of(scores: Scores) -> list[float]:
    return [*(scores[name] for name in OBJECTIVES), scores.unsafe]


def alike(a: list[float], b: list[float]) -> bool:
    return np.array_equal(a, b, equal_nan=True)


@given(readings, readings)
def test_the_worse_of_two_readings_takes_each_score_from_the_higher_and_keeps_what_is_no_number(
    one: tuple[dict[str, float], float], other: tuple[dict[str, float], float]
) -> None:
    first, second = reading_of(one[0], "raw", one[1]), reading_of(other[0], "normalised", other[1])
    found = numbers_of(first.worse(second))
    assert alike(found, np.maximum(numbers_of(first), numbers_of(second)).tolist())  # NaN wins
    assert alike(numbers_of(second.worse(first)), found)
    assert set(first.worse(second)) == set(OBJECTIVES)


@given(readings)
def test_a_reading_is_no_worse_than_itself(one: tuple[dict[str, float], float]) -> None:
    reading = reading_of(one[0], "raw", one[1])
    assert alike(numbers_of(reading.worse(reading)), numbers_of(reading))
    assert reading.worse(reading).places == reading.places


@given(scores, scores)
def test_a_place_goes_with_the_score_that_it_explains(one: dict[str, float], other: dict[str, float]) -> None:
    first, second = reading_of(one, "raw"), reading_of(other, "normalised")
    for name, place in first.worse(second).places.items():
        assert place == (second if other[name] > one[name] else first).places[name]


@pytest.mark.parametrize(("unsafe", "other", "doubt"), [(0.7, 0.2, 0.1), (0.2, 0.7, 0.4), (0.5, 0.5, 0.1)])
def test_the_doubt_is_that_of_the_reading_with_the_higher_overall_probability(
    unsafe: float, other: float, doubt: float
) -> None:
    first, second = Scores(scored(), unsafe, {}, 0.1), Scores(scored(hate=0.9), other, {}, 0.4)
    assert first.worse(second).doubt == doubt


def test_a_verdict_tells_the_doubt_and_is_not_moved_by_it() -> None:
    sure, unsure, unknown = (
        judge(Scores(scored(hate=0.4), 0.4, {}, doubt), load_policy()) for doubt in (0.0, 0.5, None)
    )
    assert (sure.doubt, unsure.doubt, unknown.doubt) == (0.0, 0.5, None)
    assert replace(sure, doubt=None) == replace(unsure, doubt=None) == unknown
    assert judge(scored(hate=0.4), load_policy()).doubt is None
    assert unscored().doubt is None


@given(readings, readings)
def test_comparing_two_readings_changes_neither(
    one: tuple[dict[str, float], float], other: tuple[dict[str, float], float]
) -> None:
    first, second = reading_of(one[0], "raw", one[1]), reading_of(other[0], "normalised", other[1])
    first.worse(second)
    assert alike(numbers_of(first), numbers_of(reading_of(one[0], unsafe=one[1])))
    assert alike(numbers_of(second), numbers_of(reading_of(other[0], unsafe=other[1])))
    assert {place.reading for place in first.places.values()} == {"raw"}
    assert {place.reading for place in second.places.values()} == {"normalised"}


@given(scores, scores, thresholds)
def test_a_second_reading_never_turns_dropped_into_kept(
    one: dict[str, float], other: dict[str, float], thresholds: dict[str, float]
) -> None:
    policy = policy_with(thresholds)
    first, second = reading_of(one), reading_of(other)
    both = judge(first.worse(second), policy)
    assert set(both.because) == {*judge(first, policy).because, *judge(second, policy).because}
