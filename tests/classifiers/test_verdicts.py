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
from classifiers.verdicts import Verdict, judge, unscored

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
    return {name: given.get(name, 0.01) for name in OBJECTIVES}


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


@given(name=names, threshold=st.floats(0.02, 1))
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


@pytest.mark.parametrize(
    ("score", "strict", "balanced", "permissive"),
    [
        (0.0, "kept", "kept", "kept"),
        (0.29, "kept", "kept", "kept"),
        (0.3, "dropped", "kept", "kept"),
        (0.49, "dropped", "kept", "kept"),
        (0.5, "dropped", "dropped", "kept"),
        (0.69, "dropped", "dropped", "kept"),
        (0.7, "dropped", "dropped", "dropped"),
        (1.0, "dropped", "dropped", "dropped"),
    ],
)
def test_what_the_presets_do_with_a_hateful_score(score: float, strict: str, balanced: str, permissive: str) -> None:
    found = [judge(scored(hate=score), load_policy(preset)) for preset in PRESETS]
    assert ["dropped" if v.dropped else "kept" for v in found] == [strict, balanced, permissive]
    assert all(v.because == ("hate",) for v in found if v.dropped)


def test_permissive_still_drops_weapons_and_child_exploitation_at_one_half() -> None:
    for name in ("weapons", "child_exploitation"):
        assert judge(scored(**{name: 0.5}), load_policy("permissive")).because == (name,)


def test_a_reply_that_violates_two_objectives_names_the_worse_one_first() -> None:
    verdict = judge(scored(hate=0.7, violence=0.9), load_policy())
    assert verdict.because == ("violence", "hate")
    assert verdict.unsafe == 0.9
