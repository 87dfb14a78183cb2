"""Three probabilities, none above the one before; read once, with what screening read; damaged weights are refused."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from classifiers import models
from classifiers.backbone import Backbone
from classifiers.models import DamagedWeights
from classifiers.policy import load_policy
from classifiers.quality import CONFIG, WEIGHTS, Quality, QualityReadout, Rated
from classifiers.readout import Readout, Scorer
from classifiers.safety import Safety

CONTEXT = [("user", "Is tea hot?")]


def readout_of(width: int, reads: str = "x") -> QualityReadout:
    torch.manual_seed(0)
    return QualityReadout(Readout(width, 4, 4, 2).eval(), reads, "1-tiny")


class Fixed:
    """Stands in for a readout: its logits are its states, the first of them halved."""

    platt = torch.tensor([0.5, 1.0])

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        return states


@pytest.fixture
def safety(backbone: Backbone, scorer: Scorer) -> Safety:
    return Safety(backbone, scorer, load_policy())


def counting(safety: Safety, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    calls: list[list[str]] = []
    read = safety.backbone.read_all

    def counted(asked: Sequence[Any]) -> Any:
        calls.extend(list(replies) for _, replies, _ in asked)
        return read(asked)

    monkeypatch.setattr(safety.backbone, "read_all", counted)
    return calls


LOGITS = st.lists(st.floats(-1e4, 1e4, width=16), min_size=4, max_size=4)


@given(st.lists(LOGITS, max_size=5))
def test_every_rating_is_a_probability_and_none_is_above_the_one_before(rows: list[list[float]]) -> None:
    readout = QualityReadout(Fixed(), "x", "v")  # type: ignore[arg-type]
    found = readout.rate(np.array(rows, np.float16).reshape(-1, 4))
    assert len(found) == len(rows)
    for each in found:
        assert 0 <= each.interesting <= each.specific <= each.sensible <= 1
        assert 0 <= each.rank_score <= 5


def test_each_answer_is_given_the_one_before_and_the_first_is_scaled() -> None:
    readout = QualityReadout(Fixed(), "x", "v")  # type: ignore[arg-type]
    follows, does_not = readout.rate(np.array([[118.0, 0.0, 0.0, 0.0], [-2.0, 60.0, 60.0, 60.0]], np.float16))
    assert follows == Rated(0.5, 0.25, 0.125)
    assert does_not == Rated(0.5, 0.5, 0.5)


def test_the_rank_is_by_lamdas_formula() -> None:
    assert Rated(0.5, 0.25, 0.125).rank_score == pytest.approx(1.875)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_states_that_are_not_finite_are_not_rated(bad: float) -> None:
    states = np.zeros((2, 8), np.float16)
    states[1, 3] = bad
    good, unrated = readout_of(8).rate(states)
    assert 0 < good.sensible < 1
    assert np.isnan([unrated.sensible, unrated.specific, unrated.interesting]).all()


def test_replies_are_rated_in_their_order_and_none_of_none(safety: Safety) -> None:
    quality = Quality(safety, readout_of(safety.backbone.width))
    replies = ["Yes.", "No, cold.", "Yes."]
    found = quality.judge(CONTEXT, replies)
    assert found[0] == found[2] != found[1]
    alone = quality.judge([{"role": "user", "content": "Is tea hot?"}], ["No, cold."])[0]
    assert alone.sensible == pytest.approx(found[1].sensible, abs=0.01)
    assert quality.judge(CONTEXT, []) == []


def test_what_was_screened_is_rated_without_another_reading(safety: Safety, monkeypatch: pytest.MonkeyPatch) -> None:
    quality = Quality(safety, readout_of(safety.backbone.width))
    calls = counting(safety, monkeypatch)
    safety.scores(CONTEXT, ["Yes.", "No.", "Yes."])
    assert calls == [["Yes.", "No."]]
    rated = quality.judge(CONTEXT, ["No.", "Yes."])
    assert len(calls) == 1
    fresh = Safety(safety.backbone, safety.scorer, safety.policy)
    assert Quality(fresh, quality.readout).judge(CONTEXT, ["Yes.", "No."]) == rated[::-1]


@pytest.mark.parametrize(
    ("context", "replies", "read"),
    [
        ([("user", "Is ice hot?")], ["Yes."], ["Yes."]),
        (CONTEXT, ["Yes.", "Perhaps."], ["Perhaps."]),
        ([*CONTEXT, ("assistant", "Yes."), ("user", "Sure?")], ["Yes."], ["Yes."]),
    ],
)
def test_what_was_not_screened_in_this_context_is_read(
    safety: Safety, monkeypatch: pytest.MonkeyPatch, context: Any, replies: list[str], read: list[str]
) -> None:
    safety.scores(CONTEXT, ["Yes."])
    expected = Safety(safety.backbone, safety.scorer, safety.policy).states(context, replies)
    calls = counting(safety, monkeypatch)
    np.testing.assert_allclose(safety.states(context, replies), expected, atol=0.01)
    assert calls == [read]


def test_what_was_screened_with_the_replies_of_others_is_rated_without_another_reading(
    safety: Safety, monkeypatch: pytest.MonkeyPatch
) -> None:
    quality = Quality(safety, readout_of(safety.backbone.width))
    others = [("user", "What is tea?")]
    calls = counting(safety, monkeypatch)
    safety.scores_many([(CONTEXT, ["Yes.", "No."], "assistant"), (others, ["No."], "assistant")])
    read = len(calls)
    rated = [quality.judge(CONTEXT, ["No."]), quality.judge(others, ["No."])]
    assert len(calls) == read
    fresh = Quality(Safety(safety.backbone, safety.scorer, safety.policy), readout_of(safety.backbone.width))
    for context, (found,) in zip((CONTEXT, others), rated, strict=True):
        assert found.sensible == pytest.approx(fresh.judge(context, ["No."])[0].sensible, abs=0.01)


def test_a_prompt_that_was_screened_is_not_taken_for_a_reply(safety: Safety, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counting(safety, monkeypatch)
    safety.scores(CONTEXT, ["Yes."], "user")
    safety.states(CONTEXT, ["Yes."])
    assert len(calls) == 2


def test_the_states_of_disguised_text_are_those_of_the_text_itself(safety: Safety) -> None:
    safety.scores(CONTEXT, ["y\u200be\u200bs i\u200bt i\u200bs"])
    after = safety.states(CONTEXT, ["y\u200be\u200bs i\u200bt i\u200bs"])
    fresh = Safety(safety.backbone, safety.scorer, safety.policy).states(CONTEXT, ["y\u200be\u200bs i\u200bt i\u200bs"])
    np.testing.assert_array_equal(after, fresh)


def test_saved_weights_rate_as_before_and_damaged_ones_are_refused(tmp_path: Any) -> None:
    readout = readout_of(8)
    readout.readout.platt = torch.tensor([0.5, 1.0])
    readout.save(tmp_path / "quality")
    loaded = QualityReadout.load(tmp_path / "quality")
    states = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float16)
    np.testing.assert_allclose(loaded.probabilities(states), readout.probabilities(states), atol=2e-3)
    assert (loaded.reads, loaded.version) == ("x", "1-tiny")
    for name in (WEIGHTS, CONFIG):
        readout.save(tmp_path / "quality")
        with (tmp_path / "quality" / name).open("ab") as file:
            file.write(b" ")
        with pytest.raises(DamagedWeights, match=name):
            QualityReadout.load(tmp_path / "quality")


def test_it_is_loaded_with_the_safety_classifier_it_was_trained_on_and_with_no_other(
    safety: Safety, tmp_path: Any
) -> None:
    from classifiers.adaptation import fingerprint

    width = safety.backbone.width
    readout_of(width, reads=fingerprint({})).save(tmp_path)
    assert Quality.load(safety, tmp_path).version == "1-tiny"
    readout_of(width, reads="another").save(tmp_path)
    with pytest.raises(ValueError, match="winnow train --quality"):
        Quality.load(safety, tmp_path)


def test_without_a_safety_classifier_the_shipped_one_is_loaded(
    safety: Safety, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from classifiers.adaptation import fingerprint

    readout_of(safety.backbone.width, reads=fingerprint({})).save(tmp_path)
    monkeypatch.setattr(Safety, "load", lambda: safety)
    monkeypatch.setattr(models, "load", None)
    assert Quality.load(folder=tmp_path).reader is safety
