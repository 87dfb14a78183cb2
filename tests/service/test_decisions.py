from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers import OBJECTIVES, judge, unscored
from service.chat import Wants
from service.decisions import EMPTY, UNGROUNDED, Judged, chief_objective, dropped_by
from service.generator import Candidate
from tests.service.scripted import ASKS_NOTHING, GLAD, POLICY, make_corridor, scores_of


def judged(text: str = "Hi", **raised) -> Judged:
    return Judged(Candidate(text, 1, -1.0, "stop"), judge(scores_of(**raised), POLICY), False, 0)


UNSCORED = Judged(Candidate("Hi", 1, -1.0, "stop"), unscored(), False, 0)


@pytest.mark.parametrize(
    ("candidate", "kept", "reason"),
    [
        (judged(), True, None),
        (judged(violence=0.9), False, "violence"),
        (judged(violence=0.6, hate=0.9), False, "hate"),
        (judged(text=""), False, EMPTY),
        (judged(text="", violence=0.9), False, "violence"),
        (UNSCORED, False, "unscored"),
        (replace(judged(), ungrounded=True), False, UNGROUNDED),
        (replace(judged(violence=0.9), ungrounded=True), False, "violence"),
    ],
)
def test_a_candidate_is_kept_or_has_a_reason(candidate, kept, reason):
    assert (candidate.kept, candidate.reason) == (kept, reason)


def test_each_candidate_counts_once_for_the_first_of_its_reasons():
    several = [judged(), judged(violence=0.6, hate=0.9), judged(violence=0.9), judged(text=""), UNSCORED]
    assert dropped_by(several) == {"hate": 1, "violence": 1, "empty": 1, "unscored": 1}


def test_the_chief_objective_dropped_the_most():
    assert chief_objective([judged(hate=0.9), judged(hate=0.9), judged(violence=0.99)]) == "hate"


def test_of_equals_the_first_in_the_policy_is_chief():
    first, second = OBJECTIVES[:2]
    assert chief_objective([judged(**{second: 0.9}), judged(**{first: 0.9})]) == first


def test_what_is_no_objective_is_never_chief():
    assert chief_objective([judged(text=""), UNSCORED, UNSCORED]) is None
    assert chief_objective([judged(text=""), UNSCORED, UNSCORED, judged(violence=0.9)]) == "violence"


def test_where_nothing_was_dropped_there_is_no_chief():
    assert chief_objective([]) is None
    assert chief_objective([judged()]) is None


@given(st.lists(st.sampled_from(["", "safe", "bomb", "vote"]), min_size=1, max_size=12))
def test_every_sampled_candidate_is_in_the_record_and_every_dropped_one_is_counted(texts):
    corridor = make_corridor(texts, {"bomb": {"violence": 0.9}, "vote": {"elections": 0.9}})
    decision = corridor.reply(ASKS_NOTHING, Wants(candidates=len(texts), seed=1))
    assert [j.candidate.text for j in decision.judged] == texts * decision.attempts
    assert [j.attempt for j in decision.judged] == [a for a in range(decision.attempts) for _ in texts]
    assert decision.dropped == tuple(j for j in decision.judged if j.candidate.text != "safe")
    assert sum(decision.dropped_by.values()) == len(decision.dropped)


def test_a_decision_cannot_be_rewritten():
    decision = make_corridor([GLAD]).reply(ASKS_NOTHING, Wants(candidates=1, seed=1))
    with pytest.raises(AttributeError):
        decision.seed = 2
