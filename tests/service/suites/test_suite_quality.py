"""The suite `quality`: shares of replies before and after the pick, counted by hand; the same cases for the same seed."""

import pytest

from classifiers import Rated
from classifiers.quality_sets import read_rated
from data import QUALITY
from service.settings import Settings
from service.suites.base import measured
from service.suites.model import Answer
from service.suites.quality import CANDIDATES, SUITE
from service.suites.run import Run, Unavailable
from tests.service.scripted import ScriptedQuality, make_corridor


def run_of(quality, says=("A zebra.", "A horse."), quick=True, scores=None, endpoint=None):
    corridor = make_corridor(says, scores, quality=quality, candidates=4)
    return Run(Settings(), 1, quick, endpoint=endpoint, corridor=corridor)


class Endpoint:
    """A model that is not Winnow: it tells no decision."""

    name = "endpoint"

    def candidates(self, messages, n, max_tokens, seed):
        return ["A horse."] * n

    def answer(self, messages, max_tokens, seed, grounding="off"):
        return Answer("A zebra.", "stop", 0.1)


RATED = ScriptedQuality({"zebra": Rated(0.9, 0.6, 0.5), "horse": Rated(0.8, 0.4, 0.1)})


def figures(rows):
    return {metric.name: measured(metric, rows) for metric in SUITE.metrics(rows)}


def test_the_cases_are_contexts_of_our_test_split_the_same_for_the_same_seed():
    cases = SUITE.cases(run_of(RATED))
    groups = {r.group for r in read_rated(QUALITY / "replies.jsonl") if r.split == "test"}
    assert {case["id"] for case in cases} <= groups
    assert cases == SUITE.cases(run_of(RATED))
    assert len(cases) < len(SUITE.cases(run_of(RATED, quick=False)))


def test_a_row_tells_the_candidates_and_what_was_picked():
    run = run_of(RATED)
    (row,) = SUITE.judge(SUITE.cases(run)[:1], run)
    assert row["reply"] == "A zebra."
    assert row["after"] == {"sensible": 0.9, "specific": 0.6, "interesting": 0.5}
    assert [each["specific"] for each in row["before"]] == [0.6, 0.4, 0.6, 0.4]


def test_of_an_endpoint_candidates_are_drawn_besides():
    run = run_of(RATED, endpoint=Endpoint())
    (row,) = SUITE.judge(SUITE.cases(run)[:1], run)
    assert [each["specific"] for each in row["before"]] == [0.4] * CANDIDATES
    assert row["after"]["specific"] == 0.6


def test_shares_of_answers_by_hand():
    run = run_of(RATED)
    found = figures(SUITE.judge(SUITE.cases(run), run))
    values = {name: figure.value for name, figure in found.items()}
    assert values == {
        "sensible, sent": 1.0,
        "sensible, any candidate": 1.0,
        "specific, sent": 1.0,
        "specific, any candidate": 0.5,
        "interesting, sent": 1.0,
        "interesting, any candidate": 0.5,
    }
    assert found["specific, any candidate"].beside == "specific, sent"


def test_where_nothing_was_sent_or_rated_no_share_is_made_up():
    run = run_of(RATED, ["A bomb."], scores={"bomb": {"violence": 0.9}})
    rows = SUITE.judge(SUITE.cases(run), run)
    assert {row["sent"] for row in rows} == {False}
    assert {figure.value for figure in figures(rows).values()} == {None}
    unrated = run_of(ScriptedQuality(lambda context, texts: []))
    rows = SUITE.judge(SUITE.cases(unrated), unrated)
    assert {row["after"] for row in rows} == {None}
    assert {figure.value for figure in figures(rows).values()} == {None}
    assert {figure.value for figure in figures([]).values()} == {None}


def test_without_a_ranker_the_suite_says_what_would_make_one():
    with pytest.raises(Unavailable, match="winnow train --quality"):
        SUITE.cases(run_of(None))
