from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers import Rated, judge
from retrieval import Claim, Grounding, Hit
from service.decisions import Judged
from service.generator import Candidate
from service.ranking import CLAIMLESS, CLOSENESS_WEIGHT, CUT_OFF, RATED_NAT, SUPPORT_WEIGHT, merit, rank, settle
from tests.service.scripted import GLAD, INDEX, INVENTED, KENYA, POLICY, scores_of

QUESTION = "What is the capital of Kenya?"
SAFE = judge(scores_of(), POLICY)
HITS = [Hit(passage, 1.0) for passage in INDEX.passages if passage.document_id == "kenya"]


def judged(text: str, mean: float, tokens: int = 4, finish: str = "stop", rated: Rated | None = None) -> Judged:
    return Judged(Candidate(text, tokens, mean * tokens, finish), SAFE, False, 0, rated=rated)


def rated(text: str, sensible: float, specific: float = 0.0, interesting: float = 0.0, mean: float = -1.0) -> Judged:
    return judged(text, mean, rated=Rated(sensible, specific, interesting))


def order(survivors, hits=()):
    return [j.candidate.text for j in rank(survivors, QUESTION, hits, INDEX.weight)]


def test_without_evidence_the_likeliest_a_token_comes_first():
    assert order([judged("b", -2.0), judged("a", -1.0), judged("c", -3.0)]) == ["a", "b", "c"]


def test_a_long_reply_is_not_punished_for_its_length():
    assert order([judged("short", -2.0, tokens=2), judged("long", -1.0, tokens=100)]) == ["long", "short"]


@given(st.lists(st.sampled_from([-3.0, -2.0, -1.0]), max_size=20))
def test_ranking_keeps_every_survivor_and_the_order_of_equals(means):
    survivors = [judged(f"{i}", mean) for i, mean in enumerate(means)]
    assert order(survivors) == [str(i) for i in sorted(range(len(means)), key=lambda i: (-means[i], i))]


def test_a_supported_reply_comes_before_a_likelier_one_that_is_not():
    assert order([judged(INVENTED, -1.0), judged(GLAD, -1.0), judged(KENYA, -2.9)], HITS) == [KENYA, INVENTED, GLAD]


def test_support_is_worth_so_much_and_no_more():
    most = SUPPORT_WEIGHT + CLOSENESS_WEIGHT * (1 - CLAIMLESS)
    assert order([judged(GLAD, -1.0), judged(KENYA, -1.0 - most - 0.1)], HITS) == [GLAD, KENYA]
    assert order([judged(GLAD, -1.0), judged(KENYA, -1.0 - most + 0.1)], HITS) == [KENYA, GLAD]


def test_half_a_support_is_worth_half():
    both = f"{KENYA} {INVENTED}"
    assert order([judged(GLAD, -1.0), judged(both, -1.9)], HITS) == [both, GLAD]
    assert order([judged(GLAD, -1.0), judged(both, -2.6)], HITS) == [GLAD, both]


def test_of_unsupported_replies_the_one_in_the_words_of_the_evidence_comes_first():
    near, far = "The capital of Kenya is Mombasa.", "Zanzibar has large towns with many hills."
    assert order([judged(far, -1.0), judged(near, -1.1)], HITS) == [near, far]


def test_a_reply_that_was_shown_the_evidence_comes_before_a_likelier_one_that_was_not():
    shown = replace(judged(INVENTED, -1.5), with_evidence=True)
    assert order([judged(f"{INVENTED} ", -1.0), shown], HITS) == [INVENTED, f"{INVENTED} "]


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_a_reply_that_was_cut_off_comes_after_one_that_ended(finish):
    assert order([judged(GLAD, -1.0, finish=finish), judged(INVENTED, -1.5)]) == [INVENTED, GLAD]
    assert order([judged(GLAD, -1.0, finish=finish), judged(INVENTED, -1.1 - CUT_OFF)]) == [GLAD, INVENTED]


def test_of_equally_supported_finalists_the_one_closer_to_support_is_sent():
    first, second = judged("Far.", -1.0), judged("Near.", -2.0)
    support = {"Far.": 0.1, "Near.": 0.5}

    def ground(candidate):
        return Grounding((Claim(0, len(candidate.text), candidate.text, support=support[candidate.text]),))

    assert [each.candidate.text for each, _ in settle([first, second], ground, 1)] == ["Near.", "Far."]


def test_a_reply_without_claims_gains_nothing_by_it():
    assert order([judged(GLAD, -1.1), judged(INVENTED, -1.0)], HITS) == [INVENTED, GLAD]


def test_nobody_survives_nobody_is_ranked():
    assert order([], HITS) == []


def test_rated_replies_are_ranked_by_three_times_sensible_and_specific_and_interesting():
    given = [rated("a", 0.5, 0.5, 0.5), rated("b", 0.8, 0.2), rated("c", 0.9, 0.1, 0.0)]  # 2.5, 2.6, 2.8
    assert order(given) == ["c", "b", "a"]


def test_a_rating_counts_as_far_as_the_reply_is_safe():
    better, safer = rated("better", 0.8), replace(rated("safer", 0.7), verdict=judge(scores_of(hate=0.0), POLICY))
    for unsafe, first in ((0.05, ["better", "safer"]), (0.2, ["safer", "better"])):
        doubtful = replace(better, verdict=judge(scores_of(hate=unsafe), POLICY))
        assert order([doubtful, safer]) == first
    assert merit(replace(better, verdict=judge(scores_of(hate=0.5), POLICY)))[0] == pytest.approx(1.2)


def test_a_likelier_reply_does_not_come_before_a_better_rated_one():
    assert order([rated("dull", 0.8, mean=-0.1), rated("good", 0.8, 0.5, mean=-9.0)]) == ["good", "dull"]


def test_of_equal_ratings_the_likelier_comes_first_then_the_earlier():
    given = [rated("c", 0.5, mean=-2.0), rated("a", 0.5, mean=-1.0), rated("b", 0.4998, mean=-1.5)]
    assert order(given) == ["a", "b", "c"]
    assert order([rated("a", 0.5), rated("b", 0.5)]) == ["a", "b"]


def test_a_supported_reply_comes_before_a_better_rated_one_that_is_not():
    assert order([rated(INVENTED, 1.0, 0.9), rated(KENYA, 0.7, 0.4)], HITS) == [KENYA, INVENTED]


def test_support_is_worth_as_much_as_making_sense_beside_ratings():
    assert RATED_NAT * SUPPORT_WEIGHT == 3
    least = (5 + RATED_NAT * CLOSENESS_WEIGHT * (CLAIMLESS - 1) - 3) / 3  # what KENYA needs against a perfect GLAD
    assert order([rated(GLAD, 1.0, 1.0, 1.0), rated(KENYA, least - 0.1)], HITS) == [GLAD, KENYA]
    assert order([rated(GLAD, 1.0, 1.0, 1.0), rated(KENYA, least + 0.1)], HITS) == [KENYA, GLAD]


def test_a_rated_reply_that_was_cut_off_comes_after_one_that_was_not_and_one_with_evidence_before_one_without():
    cut = judged("cut", -1.0, finish="length", rated=Rated(0.9, 0.0, 0.0))  # 2.7 - 1.5
    assert order([cut, rated("whole", 0.5)]) == ["whole", "cut"]
    shown = replace(rated(GLAD, 0.5), with_evidence=True)  # 1.5 + 1.5
    assert order([rated("Glad.", 0.9), shown], HITS) == [GLAD, "Glad."]


def test_where_one_is_not_rated_all_are_ranked_by_likelihood():
    given = [rated("a", 0.9, mean=-3.0), judged("b", -2.0), rated("c", 0.1, mean=-1.0)]
    assert order(given) == ["c", "b", "a"]


def test_by_themselves_rated_candidates_stand_before_unrated_ones_and_those_by_likelihood():
    given = [judged("d", -2.0), judged("c", -1.0), rated("b", 0.1, mean=-9.0), rated("a", 0.2, mean=-9.0)]
    assert [j.candidate.text for j in sorted(given, key=merit, reverse=True)] == ["a", "b", "c", "d"]
