"""A judge that is asked once."""

import pytest

from service.remembering import Remembered


class Counting:
    threshold, version = 0.5, "7"

    def __init__(self):
        self.asked = []

    def judge(self, claims):
        self.asked.append(list(claims))
        return [f"judgement of {claim[2]}" for claim in claims]


def test_the_same_claim_and_passage_are_read_once():
    scorer = Counting()
    judge = Remembered(scorer)
    first = judge.judge([("p", "", "a"), ("p", "", "b"), ("p", "", "a")])
    assert first == ["judgement of a", "judgement of b", "judgement of a"]
    assert judge.judge([("p", "", "b"), ("q", "", "b")]) == ["judgement of b", "judgement of b"]
    assert scorer.asked == [[("p", "", "a"), ("p", "", "b")], [("q", "", "b")]]


def test_another_turn_before_is_another_reading():
    scorer = Counting()
    judge = Remembered(scorer)
    judge.judge([("p", "", "a")])
    judge.judge([("p", "asked", "a")])
    assert len(scorer.asked) == 2


def test_nothing_asked_is_nothing_read():
    scorer = Counting()
    assert Remembered(scorer).judge([]) == []
    assert scorer.asked == []


def test_threshold_and_version_are_the_scorers_own():
    assert (Remembered(Counting()).threshold, Remembered(Counting()).version) == (0.5, "7")


def test_a_failure_is_raised_and_not_remembered():
    class Failing(Counting):
        def judge(self, claims):
            if not self.asked:
                self.asked.append(claims)
                raise RuntimeError("once")
            return super().judge(claims)

    judge = Remembered(Failing())
    with pytest.raises(RuntimeError):
        judge.judge([("p", "", "a")])
    assert judge.judge([("p", "", "a")]) == ["judgement of a"]


def test_too_few_judgements_are_an_error_not_a_shift():
    class Short(Counting):
        def judge(self, claims):
            return super().judge(claims)[1:]

    judge = Remembered(Short())
    with pytest.raises(ValueError, match="shorter"):
        judge.judge([("p", "", "a"), ("p", "", "b")])
