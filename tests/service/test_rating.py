"""Whatever a rater does, candidates are rated or ranked without it, and the log says which."""

import math

import pytest

from classifiers import Rated
from service.rating import rate
from tests.service.scripted import ScriptedQuality

GOOD = Rated(0.9, 0.5, 0.1)
CONTEXT = [("user", "?")]


def raising(context, texts):
    raise RuntimeError(texts[0])


def test_each_text_gets_its_rating_in_order():
    rater = ScriptedQuality({"a": GOOD})
    assert rate(rater, CONTEXT, ["a", "b"]) == [GOOD, Rated(0.5, 0.0, 0.0)]
    assert rater.calls == [(CONTEXT, ["a", "b"])]


def test_without_a_rater_or_a_text_there_is_nothing_to_rate(caplog):
    rater = ScriptedQuality({})
    assert rate(None, CONTEXT, ["a", "b"]) == [None, None]
    assert rate(rater, CONTEXT, []) == []
    assert (rater.calls, caplog.text) == ([], "")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (raising, "rating failed with RuntimeError"),
        (lambda context, texts: [GOOD], "1 rows instead of 2"),
        (lambda context, texts: None, "rating failed with TypeError"),
    ],
)
def test_a_rater_that_fails_rates_none_and_the_log_says_so_without_its_words(caplog, answer, says):
    assert rate(ScriptedQuality(answer), CONTEXT, ["a secret", "b"]) == [None, None]
    assert says in caplog.text
    assert "ranked by likelihood" in caplog.text
    assert "a secret" not in caplog.text


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1, 1.1, None, "high"])
@pytest.mark.parametrize("place", range(3))
def test_what_is_no_probability_is_no_rating(caplog, bad, place):
    values = [0.5, 0.5, 0.5]
    values[place] = bad
    assert rate(ScriptedQuality(lambda c, t: [GOOD, Rated(*values)]), CONTEXT, ["a", "b"]) == [GOOD, None]
    assert "1 of 2 ratings are not probabilities" in caplog.text


def test_a_rating_of_another_kind_is_none():
    assert rate(ScriptedQuality(lambda c, t: [(0.5, 0.5, 0.5)]), CONTEXT, ["a"]) == [None]
