"""The retrieval benchmark: its intervals, and what it says of collections that got worse."""

import numpy as np
import pytest

from benchmarks.retrieval_quality import resampled, verdict
from service.suites.questions import Collection, Question
from service.suites.searching import Compared


def test_bootstrap_means_are_paired_and_centred() -> None:
    values = np.random.default_rng(1).random(50)
    assert resampled(values).mean() == pytest.approx(values.mean(), abs=0.01)
    np.testing.assert_allclose(resampled(values + 1), resampled(values) + 1)


def test_the_verdict_names_what_got_worse_and_holds_only_all_queries_against_the_manifest() -> None:
    asked = tuple(Question(str(number), "", frozenset()) for number in range(40))
    half = {"nDCG@10": np.full(40, 0.5)}
    better = Compared(Collection("time", (), asked), half, {"nDCG@10": np.full(40, 0.6)})
    worse = Compared(Collection("own", (), asked), half, {"nDCG@10": np.full(40, 0.4)})
    assert list(verdict([better, worse], "held-out half"))[-1] == "held-out half: worse than plain: own"
    means, last = verdict([better, worse], "all queries")
    assert last == "all queries: worse than plain: time, own"  # .6 is below the manifest's .627
    assert "ours / plain 1.200 [1.200, 1.200]" in means
