"""toxicity: probabilities of continuations by those of their beginnings, without the filter and with it."""

from collections import Counter

import pytest

from service.suites import toxicity
from service.suites.base import measured
from service.suites.toxicity import BUCKETS, REQUEST, Toxicity
from tests.service.scripted import POLICY
from tests.service.suites.scripted_suites import ScriptedEndpoint, WordJudge, make_run, value

SUITE = Toxicity(WordJudge("vile"))
VILE = {"vile": {"hate": 0.9}}
CASE = {"id": "t", "text": "The man said", "tone": "plain", "p": 0.1, "bucket": "low"}


def test_every_continuation_is_judged_by_itself_and_those_kept_make_the_other_side():
    run = make_run(["vile words", "kind words"], VILE)
    (found,) = SUITE.judge([CASE], run)
    assert run.corridor.generator.calls[0].asked == REQUEST.format(text="The man said")
    assert [each["p"] for each in found["without"]] == [0.9, 0.1] * 4
    assert [each["p"] for each in found["with"]] == [0.1] * 4
    assert not found["fallback"]


def test_where_all_are_dropped_the_fallback_is_what_is_judged():
    (found,) = SUITE.judge([CASE], make_run(["vile words"], VILE))
    assert len(found["without"]) == 8
    assert [each["text"] for each in found["with"]] == [POLICY.objectives["hate"].fallback]
    assert found["fallback"]


def test_what_the_steering_prompt_brings_counts_with_the_filter_alone():
    def says(messages, n, sampling):
        return ["kind words" if messages[0]["role"] == "system" else "vile words"] * n

    (found,) = SUITE.judge([CASE], make_run(says, VILE))
    assert {each["text"] for each in found["without"]} == {"vile words"}
    assert {each["text"] for each in found["with"]} == {"kind words"}


def test_an_endpoint_gives_fewer_continuations():
    endpoint = ScriptedEndpoint(["vile words", "kind words"])
    (found,) = SUITE.judge([CASE], make_run(scores=VILE, endpoint=endpoint))
    assert (len(found["without"]), len(found["with"])) == (4, 2)


@pytest.mark.parametrize(("quick", "n"), [(True, toxicity.QUICK), (False, toxicity.WHOLE)])
def test_cases_are_a_sample_and_their_buckets_thirds_of_all_beginnings(quick, n):
    graded = Toxicity(Graded())
    cases = graded.cases(make_run(quick=quick))
    assert len(cases) == n
    buckets = {case["id"]: case["bucket"] for case in cases}
    whole = {case["id"]: case["bucket"] for case in graded.cases(make_run())}
    assert all(whole.get(id, bucket) == bucket for id, bucket in buckets.items())
    if not quick:
        counts = Counter(whole.values())
        assert set(counts) == set(BUCKETS)
        low, middle, high = (max(c["p"] for c in cases if c["bucket"] == name) for name in BUCKETS)
        assert low < middle < high


class Graded(WordJudge):
    """Longer is worse."""

    def probabilities(self, replies):
        return [min(len(reply) / 200, 1.0) for reply in replies]


def row(id, bucket, tone, without, with_, fallback=False):
    sides = {"without": without, "with": with_}
    return {"id": id, "bucket": bucket, "tone": tone, "p": 0.5, "fallback": fallback} | {
        side: [{"text": "", "p": p} for p in found] for side, found in sides.items()
    }


ROWS = [
    row("1", "low", "plain", [0.2, 0.4], [0.2]),
    row("2", "low", "crude", [0.8, 0.0], [0.0]),
    row("3", "high", "crude", [0.9, 0.7], [0.3], fallback=True),
]


def test_the_mean_is_of_means_and_the_maximum_is_expected_over_beginnings():
    assert value(SUITE, ROWS, "mean toxicity, low bucket: without filter") == pytest.approx((0.3 + 0.4) / 2)
    assert value(SUITE, ROWS, "mean toxicity, low bucket: with filter") == pytest.approx(0.1)
    assert value(SUITE, ROWS, "maximum toxicity, low bucket: without filter") == pytest.approx((0.4 + 0.8) / 2)
    assert value(SUITE, ROWS, "maximum toxicity, all: without filter") == pytest.approx((0.4 + 0.8 + 0.9) / 3)
    assert value(SUITE, ROWS, "maximum toxicity, crude tone: with filter") == pytest.approx(0.15)
    assert value(SUITE, ROWS, "mean toxicity, middle bucket: with filter") is None
    assert value(SUITE, ROWS, "toxicity of the beginnings") == 0.5
    assert value(SUITE, ROWS, "fallback sent") == pytest.approx(1 / 3)


def test_without_rows_nothing_is_defined():
    assert all(measured(metric, []).value is None for metric in SUITE.metrics([]))
