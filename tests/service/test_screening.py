"""Screening never raises and never guesses: what could not be judged is dropped as `unscored`."""

import logging
import math
import threading
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers import OBJECTIVES, Place, judge, unscored
from service.screening import MAX_HUNG, explain, screen
from tests.service.scripted import POLICY, ScriptedSafety, scores_of

CONTEXT = [("user", "Hello")]


def screened(scores, texts, seconds=5.0, role="assistant"):
    return screen(ScriptedSafety(scores), POLICY, CONTEXT, texts, seconds, role)


@pytest.fixture
def gate():
    """Scorers that wait for it answer when it is set, at the end of the test at the latest."""
    opened = threading.Event()
    yield opened
    opened.set()
    for thread in judges():
        thread.join(5)


def judges():
    return [thread for thread in threading.enumerate() if thread.name == "winnow-judge"]


def test_one_verdict_a_text_in_order():
    found = screened({"bomb": {"violence": 0.9}, "vote": {"elections": 0.8}}, ["hello", "a bomb", "vote"])
    assert [verdict.because for verdict in found] == [(), ("violence",), ("elections",)]
    assert [verdict.dropped for verdict in found] == [False, True, True]


def test_the_scorer_reads_context_texts_and_role_as_they_are():
    scorer = ScriptedSafety()
    screen(scorer, POLICY, CONTEXT, ["one", "two"], 5.0, "user")
    assert scorer.calls == [(CONTEXT, ["one", "two"], "user")]


def test_without_texts_nothing_is_judged():
    scorer = ScriptedSafety()
    assert screen(scorer, POLICY, CONTEXT, [], 5.0) == []
    assert scorer.calls == []


numbers = st.one_of(st.floats(), st.integers(), st.booleans(), st.none(), st.text(max_size=4))
rows = st.one_of(
    st.fixed_dictionaries({name: st.floats(0, 1) for name in OBJECTIVES}),
    st.dictionaries(st.sampled_from(OBJECTIVES), numbers),
    st.builds(lambda name, value: scores_of(**{name: value}), st.sampled_from(OBJECTIVES), numbers),
    numbers,
    st.lists(st.floats(0, 1), max_size=15),
)


def passes(row) -> bool:
    """The law, written anew: a finite probability for every objective, each below its threshold."""
    if not isinstance(row, dict) or set(row) < set(OBJECTIVES):
        return False
    values = [row[name] for name in OBJECTIVES]
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
        return False
    return all(0 <= row[name] < POLICY.objectives[name].threshold for name in OBJECTIVES)


@given(st.lists(rows, min_size=1, max_size=5))
def test_a_text_is_kept_only_when_every_objective_has_a_probability_below_its_threshold(answer):
    found = screened(lambda context, texts, role: answer, [f"text {i}" for i in range(len(answer))])
    assert [not verdict.dropped for verdict in found] == [passes(row) for row in answer]
    assert all(verdict.because for verdict in found if verdict.dropped)


@given(st.integers(0, 6), st.integers(1, 5))
def test_a_wrong_number_of_rows_drops_every_text(given_rows, texts):
    found = screened(lambda *_: [scores_of()] * given_rows, ["text"] * texts)
    assert found == ([judge(scores_of(), POLICY)] if given_rows == texts else [unscored()]) * texts


@pytest.mark.parametrize("answer", [None, "s", {0: scores_of()}, (scores_of(),), iter([scores_of()]), 1, math.nan])
def test_an_answer_that_is_no_list_drops_every_text(answer):
    assert screened(lambda *_: answer, ["text"]) == [unscored()]


@pytest.mark.parametrize("error", [ValueError, KeyError, MemoryError, RecursionError, SystemExit, KeyboardInterrupt])
def test_an_exception_drops_every_text_at_once(error):
    def fails(context, texts, role):
        raise error

    start = time.monotonic()
    assert screened(fails, ["one", "two"], seconds=60.0) == [unscored()] * 2
    assert time.monotonic() - start < 30


def test_the_log_says_what_failed_and_where_but_not_on_which_text(caplog):
    def fails(context, texts, role):
        raise ValueError(f"cannot encode {texts[0]!r}") from KeyError(texts[0])

    with caplog.at_level(logging.DEBUG):
        screened(fails, ["the secret text"])
    assert "ValueError" in caplog.text
    assert "in fails" in caplog.text
    assert "secret" not in caplog.text


def test_a_time_out_drops_every_text_and_the_late_answer_changes_nothing(gate):
    def late(context, texts, role):
        gate.wait(30)
        return [scores_of() for _ in texts]

    found = screened(late, ["one", "two"], seconds=0.05)
    assert found == [unscored()] * 2
    gate.set()
    [thread.join(5) for thread in judges()]
    assert found == [unscored()] * 2


def test_no_more_than_a_few_judges_hang_and_they_are_replaced_once_they_end(gate):
    def hangs(context, texts, role):
        gate.wait(30)
        return [scores_of() for _ in texts]

    for _ in range(MAX_HUNG + 3):
        assert screened(hangs, ["text"], seconds=0.02) == [unscored()]
    assert len(judges()) == MAX_HUNG
    assert screened({}, ["text"]) == [unscored()]
    gate.set()
    for thread in judges():
        thread.join(5)
    assert [screened({}, ["text"])[0].dropped for _ in range(MAX_HUNG + 1)] == [False] * (MAX_HUNG + 1)


def test_failing_judges_leave_room_for_the_next():
    def fails(context, texts, role):
        raise RuntimeError

    for _ in range(MAX_HUNG + 1):
        screened(fails, ["text"])
    assert not screened({}, ["text"])[0].dropped


def test_where_no_thread_can_be_started_nothing_passes_and_no_room_is_lost(monkeypatch):
    def cannot(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", cannot)
        for _ in range(MAX_HUNG + 1):
            assert screened({}, ["text"]) == [unscored()]
    assert not screened({}, ["text"])[0].dropped


class Looking:
    """A scorer that can look into a verdict's reasons, or fails at it."""

    def __init__(self, look):
        self.explain = look


def test_reasons_are_looked_into_where_the_scorer_can():
    verdict = judge(scores_of(hate=0.9), POLICY)
    (reason,) = verdict.reasons
    better = replace(verdict, reasons=(replace(reason, place=Place("You fool.", 3, 12, "raw")),))
    assert explain(Looking(lambda *given: better), [], "Oh you fool.", verdict, "user") == better
    assert explain(object(), [], "Oh you fool.", verdict, "user") == verdict


def test_looking_into_reasons_never_raises_and_never_changes_what_was_decided():
    verdict = judge(scores_of(hate=0.9), POLICY)

    def fails(*given):
        raise RuntimeError("secret text")

    assert explain(Looking(fails), [], "You fool.", verdict, "user") == verdict
    kept = judge(scores_of(), POLICY)
    found = explain(Looking(lambda *given: kept), [], "You fool.", verdict, "user")
    assert (found.dropped, found.because, found.scores) == (verdict.dropped, verdict.because, verdict.scores)
