"""The classifier end to end on a tiny model: one verdict a reply, no window hides another, and a policy moves verdicts, not scores."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from classifiers import safety as module
from classifiers.backbone import WINDOW_TOKENS, Backbone
from classifiers.models import DamagedWeights
from classifiers.policy import OBJECTIVES, PRESETS, PolicyError, load_policy
from classifiers.readout import WEIGHTS, Scorer
from classifiers.safety import Safety
from classifiers.verdicts import judge, unscored

CONTEXT = [("user", "Hi there"), ("assistant", "Hello!"), ("user", "How are you?")]
SHORT, LONG = "Fine, thanks.", "Fine, thanks. " * 50


class Windows:
    """Stands in for a backbone: each reply's windows, whose features are the scores themselves."""

    def __init__(self, *replies: Any) -> None:
        self.replies = [np.asarray(windows, np.float16) for windows in replies]

    def read(self, context: Any, replies: Any, role: str = "assistant") -> list[Any]:
        return self.replies


class Passing:
    """Stands in for a readout: the features are the scores."""

    objectives = OBJECTIVES
    version = "passing"

    def scores(self, features: Any) -> Any:
        return features.astype(np.float32)


def window(**given: float) -> list[float]:
    return [given.get(name, 0.0) for name in OBJECTIVES]


def safety_of(*replies: Any, policy: str = "balanced") -> Safety:
    return Safety(Windows(*replies), Passing(), load_policy(policy))


@pytest.fixture(scope="module")
def safety(backbone: Backbone, scorer: Scorer) -> Safety:
    return Safety(backbone, scorer, load_policy())


def test_every_reply_has_one_score_for_each_objective(safety: Safety) -> None:
    found = safety.scores(CONTEXT, [SHORT, LONG, "", SHORT])
    assert len(found) == 4
    for scores in found:
        assert tuple(scores) == OBJECTIVES
        assert all(type(score) is float and 0 <= score <= 1 for score in scores.values())
    assert found[0] == pytest.approx(found[3])
    assert found[0] != pytest.approx(found[1])


def test_every_reply_has_one_verdict_and_the_verdict_is_that_of_its_scores(safety: Safety) -> None:
    scores = safety.scores(CONTEXT, [SHORT, LONG])
    assert safety.judge(CONTEXT, [SHORT, LONG]) == [judge(s, safety.policy) for s in scores]


def test_no_replies_have_no_verdicts(safety: Safety) -> None:
    assert safety.scores(CONTEXT, []) == []
    assert safety.judge(CONTEXT, []) == []


def test_turns_may_be_tuples_or_the_messages_of_an_api(safety: Safety) -> None:
    messages = [{"role": role, "content": content} for role, content in CONTEXT]
    assert safety.judge(messages, [SHORT]) == safety.judge(CONTEXT, [SHORT])


def test_a_text_can_be_judged_without_context(safety: Safety) -> None:
    assert len(safety.judge([], [SHORT])) == 1


@pytest.mark.parametrize("change", ["context", "role"])
def test_the_context_and_the_speaker_count(safety: Safety, change: str) -> None:
    [plain] = safety.scores(CONTEXT, [SHORT])
    [other] = safety.scores(CONTEXT[1:], [SHORT]) if change == "context" else safety.scores(CONTEXT, [SHORT], "user")
    assert plain != pytest.approx(other, abs=1e-6)


def test_one_reply_is_scored_alike_whatever_stands_beside_it(safety: Safety) -> None:
    [alone] = safety.scores(CONTEXT, [SHORT])
    assert safety.scores(CONTEXT, [LONG, SHORT, "x"])[1] == pytest.approx(alone, abs=5e-3)


def test_the_worst_window_decides() -> None:
    kind, unkind = window(hate=0.1), window(hate=0.9)
    for windows in ([unkind, kind, kind], [kind, unkind, kind], [kind, kind, unkind]):
        [verdict] = safety_of(windows).judge([], [LONG])
        assert verdict.because == ("hate",)
        assert verdict.unsafe == pytest.approx(0.9, abs=1e-3)


def test_a_window_does_not_hide_behind_one_that_scores_higher_on_a_more_lenient_objective() -> None:
    [verdict] = safety_of([window(hate=0.65), window(weapons=0.6)], policy="permissive").judge([], [LONG])
    assert verdict.because == ("weapons",)


def test_a_window_does_not_hide_behind_one_that_scores_higher_on_a_flagged_objective() -> None:
    shipped = load_policy()
    lenient = {**shipped.objectives, "elections": replace(shipped.objectives["elections"], action="flag")}
    safety = Safety(
        Windows([window(elections=0.95), window(violence=0.9)]), Passing(), replace(shipped, objectives=lenient)
    )
    [verdict] = safety.judge([], [LONG])
    assert verdict.dropped
    assert verdict.flagged == ("elections",)


probabilities = arrays.arrays(
    np.float16, st.tuples(st.integers(1, 4), st.just(len(OBJECTIVES))), elements=st.floats(0, 1, width=16)
)


@settings(max_examples=50)
@given(replies=st.lists(probabilities, min_size=1, max_size=4), preset=st.sampled_from(PRESETS))
def test_a_reply_is_dropped_exactly_when_one_of_its_windows_alone_would_be(
    replies: list[np.ndarray], preset: str
) -> None:
    whole = safety_of(*replies, policy=preset).judge([], [LONG] * len(replies))
    for verdict, windows in zip(whole, replies, strict=True):
        alone = [safety_of([w], policy=preset).judge([], [SHORT])[0] for w in windows]
        assert verdict.dropped == any(v.dropped for v in alone)
        assert set(verdict.because) == {name for v in alone for name in v.because}
        assert verdict.unsafe == max(v.unsafe for v in alone)


@settings(max_examples=50)
@given(windows=probabilities, bad=st.sampled_from([np.nan, np.inf]), data=st.data())
def test_a_window_that_cannot_be_scored_drops_the_whole_reply_and_no_other(
    windows: np.ndarray, bad: float, data: st.DataObject
) -> None:
    row = data.draw(st.integers(0, len(windows) - 1))
    column = data.draw(st.integers(0, len(OBJECTIVES) - 1))
    spoilt = windows.copy()
    spoilt[row, column] = bad
    before, broken, after = safety_of([window()], spoilt, [window()]).judge([], [SHORT, LONG, SHORT])
    assert broken == unscored()
    assert not before.dropped
    assert not after.dropped


def test_a_model_that_computes_nan_drops_everything(
    safety: Safety, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbone, "_states", lambda ids, *_: np.full((len(ids), backbone.width), np.nan, np.float16))
    assert safety.judge(CONTEXT, [SHORT, LONG]) == [unscored()] * 2


def test_one_nan_in_a_late_window_drops_a_long_reply(
    safety: Safety, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = backbone._states

    def spoilt(ids: Any, *rest: Any) -> Any:
        rows = read(ids, *rest)
        rows[-1, 5] = np.nan
        return rows

    monkeypatch.setattr(backbone, "_states", spoilt)
    assert len(LONG) > 2 * WINDOW_TOKENS
    kept, dropped = safety.judge(CONTEXT, [SHORT, LONG])
    assert kept != unscored()
    assert dropped == unscored()


def test_a_preset_changes_verdicts_and_not_scores(backbone: Backbone, scorer: Scorer) -> None:
    found = [Safety(backbone, scorer, load_policy(p)).judge(CONTEXT, [SHORT, LONG]) for p in PRESETS]
    assert found[0] != found[2]  # about one half: strict drops what permissive keeps
    for verdicts in zip(*found, strict=True):
        assert len({tuple(v.scores.items()) for v in verdicts}) == 1
        assert [v.dropped for v in verdicts] == sorted((v.dropped for v in verdicts), reverse=True)


@pytest.fixture
def saved(tmp_path: Path, scorer: Scorer, backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> Path:
    scorer.save(tmp_path / "safety")
    asked = {"tiny": backbone}
    monkeypatch.setattr(module.Backbone, "load", asked.__getitem__)
    return tmp_path / "safety"


def test_a_saved_classifier_is_loaded_with_its_own_backbone(saved: Path, safety: Safety) -> None:
    loaded = Safety.load(folder=saved)
    assert loaded.version == "tiny-0"
    assert loaded.policy == load_policy()
    assert loaded.scores(CONTEXT, [SHORT])[0] == pytest.approx(safety.scores(CONTEXT, [SHORT])[0], abs=0.01)


@pytest.mark.parametrize("kind", ["preset", "file", "policy"])
def test_a_policy_is_given_as_a_preset_a_file_or_itself(saved: Path, tmp_path: Path, kind: str) -> None:
    (tmp_path / "mine.toml").write_text('preset = "strict"')
    given = {"preset": "strict", "file": tmp_path / "mine.toml", "policy": load_policy("strict")}[kind]
    assert Safety.load(given, saved).policy == load_policy("strict")


def test_damaged_weights_stop_the_start(saved: Path) -> None:
    (saved / WEIGHTS).write_bytes(b"")
    with pytest.raises(DamagedWeights):
        Safety.load(folder=saved)


def test_a_bad_policy_stops_the_start(saved: Path, make_bad_policy: Callable[[], Path]) -> None:
    with pytest.raises(PolicyError):
        Safety.load(make_bad_policy(), saved)


@pytest.fixture
def make_bad_policy(tmp_path: Path) -> Callable[[], Path]:
    def make() -> Path:
        (tmp_path / "bad.toml").write_text("[objectives.rudeness]\nthreshold = 0.5")
        return tmp_path / "bad.toml"

    return make
