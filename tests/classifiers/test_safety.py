"""The classifier end to end on a tiny model: one verdict a reply, no window and no disguise hides anything (law 3), the sentence
that decided is the one that is quoted, and a policy moves verdicts, not scores.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from classifiers import safety as module
from classifiers.backbone import WINDOW_TOKENS, Backbone, Window
from classifiers.labelled import Turn
from classifiers.models import DamagedWeights
from classifiers.own_objective import WEIGHTS as HEAD_WEIGHTS
from classifiers.own_objective import Head
from classifiers.policy import OBJECTIVES, Policy, PolicyError, load_policy
from classifiers.readout import WEIGHTS, Scorer
from classifiers.safety import Safety
from classifiers.sentences import sentences
from classifiers.verdicts import Place, Reason, Verdict, judge, unscored

CONTEXT = [("user", "Hi there"), ("assistant", "Hello!"), ("user", "How are you?")]
SHORT, LONG = "Fine, thanks.", "Fine, thanks. " * 50


DISGUISED, PLAIN = "Ｈａｔｅ them.", "Hate them."
OUTPUTS = 1 + len(OBJECTIVES)
Row = list[float] | np.ndarray


class Reader:
    """Stands in for a backbone: for each text the windows made for it, whose features are the scores themselves."""

    tokenizer = SimpleNamespace(get_vocab=lambda: {"\u0120kill": 0, "\u0120hate": 1})

    def __init__(self, texts: Mapping[str, Sequence[Window]]) -> None:
        self.texts = texts
        self.asked: list[tuple[list[Turn], str, str]] = []

    def read(self, context: Sequence[Turn], replies: Sequence[str], role: str = "assistant") -> list[Sequence[Window]]:
        self.asked += [(list(context), reply, role) for reply in replies]
        return [self.texts[reply] for reply in replies]

    def read_all(self, asked: Sequence[Any]) -> list[list[Sequence[Window]]]:
        return [self.read(*each) for each in asked]


class Passing:
    """Stands in for a readout: the features are the scores, unsafe first, and after them the doubt."""

    objectives = OBJECTIVES
    version = "passing"

    def scores(self, features: Any) -> Any:
        return features[:, :OUTPUTS].astype(np.float32)

    def doubt(self, features: Any) -> float:
        return float(features[OUTPUTS])


def row(unsafe: float | None = None, doubt: float = 0.0, **given: float) -> list[float]:
    scores = [given.get(name, 0.0) for name in OBJECTIVES]
    return [max(scores) if unsafe is None else unsafe, *scores, doubt]


def window(
    features: Row, span: tuple[int, int] = (0, 0), inside: Mapping[tuple[int, int], Row] | None = None
) -> Window:
    """A window of these features, with those of the sentences inside it."""
    rows = [np.asarray(r, np.float16) for r in (inside or {}).values()]
    return Window(
        span,
        np.asarray(features, np.float16),
        tuple(inside or {}),
        np.stack(rows) if rows else np.empty((0, OUTPUTS + 1), np.float16),
    )


def policy_of(**thresholds: float) -> Policy:
    """The shipped policy with thresholds that do not move when it is calibrated again: one half, or as given."""
    shipped = load_policy()
    set_to = {name: replace(o, threshold=thresholds.get(name, 0.5)) for name, o in shipped.objectives.items()}
    return replace(shipped, objectives=set_to)


def safety_of(texts: Mapping[str, Sequence[Row]], **thresholds: float) -> Safety:
    """The classifier where each of these texts has windows of these scores."""
    return Safety(
        Reader({t: [window(r) for r in rows] for t, rows in texts.items()}), Passing(), policy_of(**thresholds)
    )


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
    for scores in found:
        assert 0 <= scores.unsafe <= 1
        assert scores.doubt is not None
        assert 0 <= scores.doubt <= 0.5
        assert set(scores.places) == set(OBJECTIVES)


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


def test_requests_judged_together_score_as_each_alone(safety: Safety) -> None:
    asked = [
        (CONTEXT, [SHORT, LONG], "assistant"),
        ([], [DISGUISED, PLAIN, DISGUISED], "user"),
        (CONTEXT[:1], [], "assistant"),
        ([("user", DISGUISED)], [SHORT], "assistant"),
    ]
    together = safety.scores_many(asked)
    assert [len(scores) for scores in together] == [2, 3, 0, 1]
    for each, scores in zip(asked, together, strict=True):
        for one, other in zip(scores, safety.scores(*each), strict=True):
            assert dict(one) == pytest.approx(dict(other), abs=5e-3)
            assert one.unsafe == pytest.approx(other.unsafe, abs=5e-3)


def test_a_text_that_cannot_be_scored_spoils_no_other_request() -> None:
    spoilt = safety_of({SHORT: [row(hate=0.1)], LONG: [row(hate=float("nan"))]})
    (good,), (bad,) = spoilt.scores_many([(CONTEXT, [SHORT], "assistant"), (CONTEXT, [LONG], "assistant")])
    assert good["hate"] == pytest.approx(0.1, abs=1e-3)
    assert np.isnan(bad["hate"])


def test_replies_that_say_the_same_are_read_once_and_each_has_its_verdict() -> None:
    safety = safety_of({"Yes": [row()], "No": [row(hate=0.9)]})
    assert [v.dropped for v in safety.judge([], ["Yes", "No", "Yes", "No", "No"])] == [False, True, False, True, True]
    assert [reply for _, reply, _ in safety.backbone.asked] == ["Yes", "No"]


def test_the_worst_window_decides() -> None:
    kind, unkind = row(hate=0.1), row(hate=0.9)
    for rows in ([unkind, kind, kind], [kind, unkind, kind], [kind, kind, unkind]):
        [verdict] = safety_of({LONG: rows}).judge([], [LONG])
        assert verdict.because == ("hate",)
        assert verdict.unsafe == pytest.approx(0.9, abs=1e-3)


def passages_of(rows: Sequence[Row]) -> Safety:
    """The classifier where a long text has a harmless window of the whole, and passages of these scores."""
    windows = [window(row())] + [replace(window(r), among=len(rows)) for r in rows]
    return Safety(Reader({LONG: windows}), Passing(), policy_of())


def test_a_passage_that_is_surely_unsafe_drops_the_text_however_long_it_is() -> None:
    for count in (2, 5, 30):
        [verdict] = passages_of([row(hate=0.99)] + [row(hate=0.1)] * (count - 1)).judge([], [LONG])
        assert verdict.because == ("hate",)


def test_a_passage_among_many_has_lower_odds_than_a_text_of_its_own() -> None:
    [alone], [among] = (passages_of([row(hate=0.6)] * count).scores([], [LONG]) for count in (1, 3))
    odds = 0.6 / 0.4
    assert alone["hate"] == pytest.approx(0.6, abs=1e-3)
    assert among["hate"] == pytest.approx(odds / 3 / (1 + odds / 3), abs=1e-3)
    assert among.unsafe == among["hate"]


@settings(max_examples=100)
@given(score=st.floats(allow_nan=True, width=32).filter(lambda s: not 0 <= s <= 1), among=st.integers(1, 50))
def test_a_passage_whose_score_is_no_probability_never_gets_one(score: float, among: int) -> None:
    [found] = module._of_the_text(np.array([score], np.float32), among)
    assert not 0 <= found <= 1


def test_each_objective_and_the_overall_probability_have_their_own_worst_window() -> None:
    rows = [row(0.1, hate=0.75), row(0.5, weapons=0.25), row(0.25, hate=0.5)]
    [scores] = safety_of({LONG: rows}).scores([], [LONG])
    assert scores == dict(zip(OBJECTIVES, row(hate=0.75, weapons=0.25)[1:], strict=False))
    assert scores.unsafe == 0.5


def test_the_doubt_is_that_of_the_window_with_the_highest_overall_probability() -> None:
    rows = [row(0.25, 0.5, hate=0.75), row(0.75, 0.125), row(0.5, 0.375)]
    [verdict] = safety_of({LONG: rows}).judge([], [LONG])
    assert verdict.doubt == 0.125


def test_a_window_does_not_hide_behind_one_that_scores_higher_on_a_more_lenient_objective() -> None:
    [verdict] = safety_of({LONG: [row(hate=0.65), row(weapons=0.6)]}, hate=0.7).judge([], [LONG])
    assert verdict.because == ("weapons",)


def test_a_window_does_not_hide_behind_one_that_scores_higher_on_a_flagged_objective() -> None:
    policy = policy_of()
    lenient = {**policy.objectives, "elections": replace(policy.objectives["elections"], action="flag")}
    reader = Reader({LONG: [window(row(elections=0.95)), window(row(violence=0.9))]})
    [verdict] = Safety(reader, Passing(), replace(policy, objectives=lenient)).judge([], [LONG])
    assert verdict.dropped
    assert verdict.flagged == ("elections",)


probabilities = arrays.arrays(
    np.float16, st.tuples(st.integers(1, 4), st.just(OUTPUTS + 1)), elements=st.floats(0, 1, width=16)
)
TEXTS = ("the first", "the second", "the third", "the last")


@settings(max_examples=50)
@given(replies=st.lists(probabilities, min_size=1, max_size=4), threshold=st.floats(0.1, 1))
def test_a_reply_is_dropped_exactly_when_one_of_its_windows_alone_would_be(
    replies: list[np.ndarray], threshold: float
) -> None:
    texts = TEXTS[: len(replies)]
    whole = safety_of(dict(zip(texts, replies, strict=True)), weapons=threshold).judge([], texts)
    for verdict, rows in zip(whole, replies, strict=True):
        alone = [safety_of({SHORT: [one]}, weapons=threshold).judge([], [SHORT])[0] for one in rows]
        assert verdict.dropped == any(v.dropped for v in alone)
        assert set(verdict.because) == {name for v in alone for name in v.because}
        assert verdict.unsafe == max(v.unsafe for v in alone)


@settings(max_examples=50)
@given(rows=probabilities, bad=st.sampled_from([np.nan, np.inf]), data=st.data())
def test_a_window_that_cannot_be_scored_drops_the_whole_reply_and_no_other(
    rows: np.ndarray, bad: float, data: st.DataObject
) -> None:
    spoilt = rows.copy()
    spoilt[data.draw(st.integers(0, len(rows) - 1)), data.draw(st.integers(0, OUTPUTS - 1))] = bad
    texts = dict(zip(TEXTS, ([row()], spoilt, [row()]), strict=False))
    before, broken, after = safety_of(texts).judge([], list(texts))
    assert broken == unscored()
    assert not before.dropped
    assert not after.dropped


def read_by(
    texts: Mapping[str, Sequence[Row]], context: list[Turn], replies: list[str], role: str = "assistant"
) -> Any:
    """What was asked of the reader: (context, text, role) for each text that was read."""
    safety = safety_of(texts)
    safety.judge(context, replies, role)
    return safety.backbone.asked


def test_a_text_that_is_not_disguised_is_read_once_only() -> None:
    assert read_by({SHORT: [row()]}, CONTEXT, [SHORT], "user") == [(CONTEXT, SHORT, "user")]


def test_a_disguised_text_is_read_as_itself_and_as_what_it_looks_like() -> None:
    asked = read_by({DISGUISED: [row()], PLAIN: [row()]}, CONTEXT, [DISGUISED], "user")
    assert asked == [(CONTEXT, DISGUISED, "user"), (CONTEXT, PLAIN, "user")]


def test_beside_a_disguised_text_the_others_are_still_read_once() -> None:
    texts = {DISGUISED: [row()], PLAIN: [row(hate=0.9)], "Yes": [row()], "No": [row(weapons=0.9)]}
    safety = safety_of(texts)
    verdicts = safety.judge([], ["Yes", DISGUISED, "No"])
    assert [reply for _, reply, _ in safety.backbone.asked] == ["Yes", DISGUISED, "No", PLAIN]
    assert [verdict.because for verdict in verdicts] == [(), ("hate",), ("weapons",)]


def test_the_context_is_undisguised_for_the_second_reading_too() -> None:
    asked = read_by(
        {SHORT: [row()], DISGUISED: [row()], PLAIN: [row()]},
        [("user", "Ｋｉｌｌ"), ("assistant", "k i l l"), ("user", "What?")],
        [SHORT, DISGUISED],
    )
    raw = [("user", "Ｋｉｌｌ"), ("assistant", "k i l l"), ("user", "What?")]
    plain = [("user", "Kill"), ("assistant", "kill"), ("user", "What?")]
    assert asked == [
        (raw, SHORT, "assistant"),
        (raw, DISGUISED, "assistant"),
        (plain, SHORT, "assistant"),
        (plain, PLAIN, "assistant"),
    ]


def test_a_reply_to_a_disguised_context_is_judged_by_the_worse_of_both_readings() -> None:
    class Knowing(Reader):
        def read(self, context: Any, replies: Any, role: str = "assistant") -> Any:
            return [[window(row(crime=0.9) if context == [("user", "kill")] else row())] for _ in replies]

    safety = Safety(Knowing({}), Passing(), policy_of())
    assert safety.judge([("user", "k i l l")], [SHORT])[0].because == ("crime",)
    assert safety.judge([("user", "k e l p")], [SHORT])[0].because == ()


one_row = arrays.arrays(np.float16, OUTPUTS + 1, elements=st.floats(0, 1, width=16))


@settings(max_examples=50)
@given(raw=one_row, normalised=one_row)
def test_law_3_for_each_objective_the_worse_of_the_raw_and_the_normalised_reading_decides(
    raw: np.ndarray, normalised: np.ndarray
) -> None:
    [both] = safety_of({DISGUISED: [raw], PLAIN: [normalised]}).judge([], [DISGUISED])
    assert [both.unsafe, *both.scores.values()] == np.maximum(raw, normalised)[:OUTPUTS].tolist()
    alone = [safety_of({SHORT: [one]}).judge([], [SHORT])[0] for one in (raw, normalised)]
    assert set(both.because) == {name for verdict in alone for name in verdict.because}
    assert both.dropped == any(verdict.dropped for verdict in alone)
    for reason in both.reasons:
        at = 1 + OBJECTIVES.index(reason.objective)
        assert reason.place is not None
        assert reason.place.reading == ("normalised" if normalised[at] > raw[at] else "raw")


@settings(max_examples=50)
@given(good=one_row, column=st.integers(0, OUTPUTS - 1), broken=st.sampled_from([DISGUISED, PLAIN]))
def test_law_1_a_score_that_is_no_number_in_either_reading_drops_as_unscored(
    good: np.ndarray, column: int, broken: str
) -> None:
    bad = good.copy()
    bad[column] = np.nan
    texts = {DISGUISED: [good], PLAIN: [good]} | {broken: [bad]}
    assert safety_of(texts).judge([], [DISGUISED]) == [unscored()]


def test_on_a_true_reader_a_disguised_text_scores_the_worse_of_itself_and_what_it_looks_like(
    safety: Safety, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, plain_context = [("user", "Ｈｏｗ?"), *CONTEXT], [("user", "How?"), *CONTEXT]
    replies, plain = [DISGUISED, SHORT], [PLAIN, SHORT]
    found = safety.scores(context, replies)
    monkeypatch.setattr(module, "undisguised", lambda text, words: text)
    for both, raw, normalised in zip(
        found, safety.scores(context, replies), safety.scores(plain_context, plain), strict=True
    ):
        assert raw != pytest.approx(normalised, abs=1e-6)
        for name in OBJECTIVES:
            assert both[name] == pytest.approx(max(raw[name], normalised[name]), abs=1e-6)
        assert both.unsafe == pytest.approx(max(raw.unsafe, normalised.unsafe), abs=1e-6)


SPEECH = "Hello there.  I hate you! Buy a gun. Bye."
FIRST, SECOND, THIRD, LAST = sentences(SPEECH)


def spoken(windows: Sequence[Window], text: str = SPEECH) -> Verdict:
    return Safety(Reader({text: windows}), Passing(), policy_of()).judge([], [text])[0]


def test_the_sentence_that_scores_highest_is_the_one_that_is_quoted_each_objective_its_own() -> None:
    inside = {
        FIRST: row(hate=0.1, weapons=0.1),
        SECOND: row(hate=0.6, weapons=0.2),
        THIRD: row(hate=0.2, weapons=0.9),
        LAST: row(hate=0.55),
    }
    verdict = spoken([window(row(hate=0.75, weapons=0.625), (0, len(SPEECH)), inside)])
    assert verdict.reasons == (
        Reason("hate", 0.75, 0.5, Place("I hate you!", 14, 25, "raw")),
        Reason("weapons", 0.625, 0.5, Place("Buy a gun.", 26, 36, "raw")),
    )
    assert SPEECH[14:25] == "I hate you!"


def test_the_sentence_is_sought_in_the_window_that_decided() -> None:
    calm = window(row(hate=0.3), (0, 25), {FIRST: row(hate=0.2), SECOND: row(hate=0.9)})
    worst = window(row(hate=0.8), (26, len(SPEECH)), {THIRD: row(hate=0.4), LAST: row(hate=0.5)})
    for windows in ([calm, worst], [worst, calm]):
        [reason] = spoken(windows).reasons
        assert reason.place == Place("Bye.", 37, 41, "raw")


def test_a_verdict_that_keeps_a_text_quotes_what_came_nearest() -> None:
    verdict = spoken([window(row(hate=0.25), (0, 25), {FIRST: row(hate=0.2), SECOND: row(hate=0.3)})])
    assert not verdict.dropped
    assert verdict.reasons == (Reason("hate", 0.25, 0.5, Place("I hate you!", 14, 25, "raw")),)


def test_where_the_normalised_reading_decides_the_quote_is_from_the_normalised_text() -> None:
    disguised = "Ｗｅｌｌ\u200b. I h\u200ba\u200bt\u200be you."
    plain = "Well. I hate you."
    start, end = sentences(plain)[1]
    reader = Reader(
        {
            disguised: [window(row(hate=0.2, crime=0.75), (0, len(disguised)), {(0, 6): row(crime=0.7)})],
            plain: [window(row(hate=0.875), (0, len(plain)), {(0, 5): row(hate=0.1), (start, end): row(hate=0.9)})],
        }
    )
    [verdict] = Safety(reader, Passing(), policy_of()).judge([], [disguised])
    assert verdict.reasons == (
        Reason("hate", 0.875, 0.5, Place("I hate you.", 6, 17, "normalised")),
        Reason("crime", 0.75, 0.5, Place(disguised[:6], 0, 6, "raw")),
    )


def test_a_sentence_that_cannot_be_scored_is_not_quoted_for_another() -> None:
    inside = {FIRST: row(hate=np.nan, unsafe=0.5), SECOND: row(hate=0.3)}
    [reason] = spoken([window(row(hate=0.75), (0, 25), inside)]).reasons
    assert reason.place is not None
    assert reason.place.sentence == "I hate you!"


def read_again(alone: Mapping[str, Row], without: Mapping[str, Row], speech: str = SPEECH) -> Safety:
    """The classifier where a text of several sentences blames the first of them, and each read alone, or the text without it,
    has these scores.
    """
    texts = {
        speech: [
            window(row(hate=0.9, weapons=0.8), (0, len(speech)), {sentences(speech)[0]: row(hate=0.9, weapons=0.9)})
        ]
    }
    for start, end in sentences(speech):
        texts[speech[start:end]] = [window(alone.get(speech[start:end], row()))]
        texts[speech[:start] + speech[end:]] = [window(without.get(speech[start:end], row(hate=0.5, weapons=0.5)))]
    return Safety(Reader(texts), Passing(), policy_of())


def test_an_explained_verdict_quotes_the_sentence_that_is_harmful_alone_and_without_which_the_rest_is_not() -> None:
    safety = read_again(
        alone={"I hate you!": row(hate=0.9), "Buy a gun.": row(weapons=0.9), "Bye.": row(hate=0.8)},
        without={"I hate you!": row(hate=0.1, weapons=0.5), "Buy a gun.": row(hate=0.5, weapons=0.1)},
    )
    [verdict] = safety.judge([], [SPEECH])
    assert {r.place.sentence for r in verdict.reasons if r.place} == {"Hello there."}
    found = safety.explain([], SPEECH, verdict)
    assert [(r.objective, r.place) for r in found.reasons] == [
        ("hate", Place("I hate you!", 14, 25, "raw")),
        ("weapons", Place("Buy a gun.", 26, 36, "raw")),
    ]
    assert replace(found, reasons=()) == replace(verdict, reasons=())


def test_the_only_sentence_of_a_text_needs_no_second_reading() -> None:
    safety = safety_of({"I hate you!": [row(hate=0.9)]})
    [verdict] = safety.judge([], ["I hate you!"])
    asked = len(safety.backbone.asked)
    assert safety.explain([], "I hate you!", verdict) == verdict
    assert len(safety.backbone.asked) == asked


def test_of_a_text_with_very_many_sentences_those_near_the_place_are_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "EXPLAINED", 2)
    safety = read_again(alone={"Bye.": row(hate=0.9), "I hate you!": row(hate=0.8)}, without={})
    [verdict] = safety.judge([], [SPEECH])
    found = safety.explain([], SPEECH, verdict)
    assert found.reasons[0].place == Place("I hate you!", 14, 25, "raw")
    assert not any(reply == "Bye." for _, reply, _ in safety.backbone.asked)


def test_on_a_true_reader_an_explained_place_is_a_sentence_of_the_text(safety: Safety) -> None:
    [verdict] = safety.judge(CONTEXT, [SPEECH])
    for reason in safety.explain(CONTEXT, SPEECH, verdict).reasons:
        assert reason.place is not None
        assert (reason.place.start, reason.place.end) in sentences(SPEECH)
        assert reason.place.sentence == SPEECH[reason.place.start : reason.place.end]


@pytest.mark.parametrize(
    ("reply", "quoted"),
    [("", ""), ("  Fine.  ", "Fine."), ("Fine", "Fine"), ("ab" * 150, "ab" * 150), ("   ", "   ")],
    ids=["empty", "padded", "no stop", "longer than a window", "white space"],
)
def test_a_text_of_one_sentence_is_quoted_whole(safety: Safety, reply: str, quoted: str) -> None:
    [scores] = safety.scores(CONTEXT, [reply])
    for place in scores.places.values():
        assert place.sentence == quoted == reply[place.start : place.end]


def test_on_a_true_reader_the_quoted_sentence_is_the_one_with_the_highest_score(safety: Safety, scorer: Scorer) -> None:
    text = "Fine, thanks. And how are you? ZQX JKV. It rains again."
    [scores] = safety.scores(CONTEXT, [text])
    [[read]] = safety.backbone.read(CONTEXT, [text])
    rows = scorer.scores(read.sentences)
    assert rows.shape == (4, OUTPUTS)
    for column, name in enumerate(OBJECTIVES, 1):
        start, end = sentences(text)[rows[:, column].argmax()]
        assert scores.places[name] == Place(text[start:end], start, end, "raw")
    assert len({place.start for place in scores.places.values()}) > 1  # or the test could not fail


def test_every_place_of_a_long_text_is_one_of_its_sentences(safety: Safety) -> None:
    text = " ".join(f"Sentence {i} is about {'abcdefgh'[i % 8]}." for i in range(40))
    [scores] = safety.scores(CONTEXT, [text])
    for place in scores.places.values():
        assert (place.start, place.end) in sentences(text)
        assert place.sentence == text[place.start : place.end]


def test_a_score_that_is_no_number_has_no_place() -> None:
    [scores] = safety_of({SHORT: [row(hate=np.nan, unsafe=0.5)]}).scores([], [SHORT])
    assert np.isnan(scores["hate"])
    assert set(scores.places) == set(OBJECTIVES) - {"hate"}


def test_a_model_that_computes_nan_drops_everything(
    safety: Safety, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        backbone,
        "_features",
        lambda parts, spans: [np.full((len(s), backbone.width), np.nan, np.float16) for s in spans],
    )
    assert safety.judge(CONTEXT, [SHORT, LONG]) == [unscored()] * 2


def test_one_nan_in_a_late_window_drops_a_long_reply(
    safety: Safety, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = backbone._features

    def spoilt(parts: Any, spans: Any) -> Any:
        found = read(parts, spans)
        found[-1][0, 5] = np.nan  # of the longest
        return found

    monkeypatch.setattr(backbone, "_features", spoilt)
    assert len(LONG) > 2 * WINDOW_TOKENS
    kept, dropped = safety.judge(CONTEXT, [SHORT, LONG])
    assert kept != unscored()
    assert dropped == unscored()


def test_a_policy_changes_verdicts_and_not_scores(backbone: Backbone, scorer: Scorer) -> None:
    low, high = policy_of(**dict.fromkeys(OBJECTIVES, 1e-9)), policy_of(**dict.fromkeys(OBJECTIVES, 1.0))
    strict, lenient = (Safety(backbone, scorer, policy).judge(CONTEXT, [SHORT, LONG]) for policy in (low, high))
    assert [v.scores for v in strict] == [v.scores for v in lenient]
    assert [v.dropped for v in strict] == [True, True]
    assert [v.dropped for v in lenient] == [False, False]


def test_a_classifier_that_gives_plain_dicts_will_do() -> None:
    verdict = judge(dict(safety_of({SHORT: [row(hate=0.75)]}).scores([], [SHORT])[0]), policy_of())
    assert verdict.because == ("hate",)
    assert verdict.unsafe == 0.75
    assert verdict.reasons == (Reason("hate", 0.75, 0.5, None),)


def own_head(column: int = 1 + OBJECTIVES.index("hate"), reader: str = "passing") -> Head:
    """A user's own objective: certain where the score in this column is 1, and sure that it is not where that is 0."""
    weight = np.zeros(OUTPUTS + 1, np.float32)
    weight[column] = 20
    ones = np.ones(OUTPUTS + 1, np.float32)
    return Head("rudeness", reader, 0 * ones, ones, weight, -10.0, (1.0, 0.0))


def own_policy(folder: Path, head: Head, name: str = "rudeness") -> Policy:
    head.save(folder / "head")
    (folder / "own.toml").write_text(f'[objectives.{name}]\nhead = "{folder / "head"}"\nthreshold = 0.5')
    return load_policy(folder / "own.toml")


def test_an_objective_of_the_users_own_is_scored_beside_the_shipped_ones_which_stay_as_they_are(tmp_path: Path) -> None:
    reader = Reader({SHORT: [window(row(hate=0.0)), window(row(hate=1.0, crime=0.25))]})
    [plain] = Safety(reader, Passing(), policy_of()).scores([], [SHORT])
    [own] = Safety(reader, Passing(), own_policy(tmp_path, own_head())).scores([], [SHORT])
    assert list(own) == [*OBJECTIVES, "rudeness"]
    assert {name: own[name] for name in OBJECTIVES} == plain
    assert own.unsafe == plain.unsafe
    assert own["rudeness"] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("disguised_score", "plain_score"), [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
def test_an_objective_of_the_users_own_drops_by_its_worst_reading_and_quotes_its_sentence(
    tmp_path: Path, disguised_score: float, plain_score: float
) -> None:
    column = OUTPUTS  # one that no shipped objective looks at
    reader = Reader(
        {
            text: [window(row(doubt=score), (0, 3), {(0, 1): row(doubt=0.0), (1, 3): row(doubt=score)})]
            for text, score in ((DISGUISED, disguised_score), (PLAIN, plain_score))
        }
    )
    policy = own_policy(tmp_path, own_head(column))
    [verdict] = Safety(reader, Passing(), policy).judge([], [DISGUISED])
    if disguised_score == plain_score:
        assert not verdict.dropped
        return
    assert verdict.because == ("rudeness",)
    [reason] = verdict.reasons
    decided = ("normalised", PLAIN) if plain_score > disguised_score else ("raw", DISGUISED)
    assert reason.place == Place(decided[1][1:3], 1, 3, decided[0])


def test_features_that_are_not_finite_leave_an_own_objective_unscored(tmp_path: Path) -> None:
    safety = Safety(
        Reader({SHORT: [window(row()), window(row(doubt=np.nan))]}), Passing(), own_policy(tmp_path, own_head(1))
    )
    assert safety.judge([], [SHORT]) == [unscored()]


def test_a_true_reader_scores_an_own_objective_on_the_same_features(
    tmp_path: Path, backbone: Backbone, scorer: Scorer
) -> None:
    torch.manual_seed(0)
    weight = torch.randn(backbone.width).numpy()
    ones = np.ones(backbone.width, np.float32)
    head = Head("rudeness", scorer.version, 0 * ones, ones, weight, 0.0, (0.1, 0.0))
    [scores] = Safety(backbone, scorer, own_policy(tmp_path, head)).scores(CONTEXT, [SHORT])
    [[read]] = backbone.read(CONTEXT, [SHORT])
    assert scores["rudeness"] == pytest.approx(float(head.scores(read.features[None])[0]))


def test_a_head_for_other_weights_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train it again"):
        Safety(Reader({}), Passing(), own_policy(tmp_path, own_head(reader="another")))


def test_the_head_of_another_rule_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rudeness"):
        Safety(Reader({}), Passing(), own_policy(tmp_path, own_head(), "kindness"))


def test_a_damaged_head_stops_the_start(tmp_path: Path) -> None:
    policy = own_policy(tmp_path, own_head())
    (tmp_path / "head" / HEAD_WEIGHTS).write_bytes(b"")
    with pytest.raises(DamagedWeights):
        Safety(Reader({}), Passing(), policy)


@pytest.fixture
def saved(tmp_path: Path, scorer: Scorer, backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> Path:
    scorer.save(tmp_path / "safety")
    monkeypatch.setattr(module.Backbone, "load", lambda name, update: {("tiny", None): backbone}[name, update])
    return tmp_path / "safety"


def test_the_backbone_is_loaded_with_the_update_that_was_saved(
    tmp_path: Path, scorer: Scorer, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = {"2.mlp.up_proj.down": torch.ones(1, 16), "2.mlp.up_proj.up": torch.ones(32, 1)}
    replace(scorer, update=update).save(tmp_path / "adapted")
    asked: list[Any] = []
    monkeypatch.setattr(module.Backbone, "load", lambda *given: asked.append(given) or backbone)
    Safety.load(folder=tmp_path / "adapted")
    [(name, given)] = asked
    assert name == "tiny"
    assert set(given) == set(update)


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
