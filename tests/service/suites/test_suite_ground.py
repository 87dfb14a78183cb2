"""The suite ground: what each figure counts, on rows that can be counted by hand, and rows from a scripted corridor."""

import json

import pytest

from service.settings import Settings
from service.suites import ground
from service.suites.base import measured
from service.suites.ground import HAND, QUICK, SUITE, WHOLE
from service.suites.model import Answer
from service.suites.run import Run
from tests.service.scripted import INVENTED, KENYA, POLICY, make_corridor


@pytest.fixture
def questions(tmp_path, monkeypatch):
    path = tmp_path / "questions.jsonl"
    line = {"question": "What is the capital of Kenya?", "kind": "answerable", "documents": ["kenya"]}
    path.write_text("".join(json.dumps({**line, "id": f"q{n}"}) + "\n" for n in range(3)))
    monkeypatch.setattr(ground, "QUESTIONS", path)
    monkeypatch.setattr(ground, "JUDGED", tmp_path / "judged.jsonl")
    return path


def run_of(*texts, **options):
    return Run(Settings(candidates=2), corridor=make_corridor(texts or [KENYA], candidates=2), **options)


def rows_of(run):
    return [row for case in SUITE.cases(run) for row in SUITE.judge([case], run)]


def figures_of(rows):
    return {metric.name: measured(metric, rows) for metric in SUITE.metrics(rows)}


def row(number, mode="cite", labels=("supported",), **changed):
    found = {
        "id": f"q{number}/{mode}",
        "question": f"q{number}",
        "kind": "answerable",
        "mode": mode,
        "gold": ["kenya"],
        "reply": "R.",
        "finish_reason": "stop",
        "claims": [{"label": label} for label in labels],
        "invented": 0,
        "cited": ["kenya"] if "supported" in labels else [],
        "cites": "supported" in labels,
        "seconds": 1.0,
    }
    return {**found, **changed}


def test_a_case_is_a_question_in_a_mode_and_ids_are_unlike():
    cases = SUITE.cases(Run(Settings()))
    asked = [case for case in cases if case["mode"] != HAND]
    assert len(asked) == 3 * WHOLE
    assert len({case["id"] for case in cases}) == len(cases)
    quick = [case for case in SUITE.cases(Run(Settings(), quick=True)) if case["mode"] != HAND]
    assert len(quick) == 2 * QUICK


def test_a_run_may_say_how_many_questions_are_asked():
    for quick in (False, True):
        cases = SUITE.cases(Run(Settings(), quick=quick, questions=5))
        assert len({case["question"] for case in cases if case["mode"] != HAND}) == 5


def test_replies_of_the_corridor_are_judged_in_every_mode(questions):
    rows = rows_of(run_of())
    assert [row["mode"] for row in rows] == ["off", "cite", "research"] * 3
    json.dumps(rows, allow_nan=False)
    figures = figures_of(rows)
    assert figures["cite: groundedness"].value == figures["cite: informativeness"].value == 1.0
    assert figures["cite: citation accuracy"].value == figures["cite: a gold document is cited"].value == 1.0
    assert figures["cite: invented citations"].value == 0
    # Without sources the same words are as true, but nothing is cited.
    assert figures["off: groundedness"].value == 1.0
    assert figures["off: citation accuracy"].value == 0.0
    assert figures["off: a gold document is cited"].value is None


def test_one_claim_that_nothing_bears_out_makes_the_whole_reply_ungrounded(questions):
    figures = figures_of(rows_of(run_of(f"{KENYA} {INVENTED}")))
    assert figures["cite: groundedness"].value == figures["cite: informativeness"].value == 0.0
    assert figures["cite: citation accuracy"].value == 1.0


def test_rows_are_identical_for_the_same_seed_but_for_the_time_they_took(questions):
    def told(seed):
        return [{k: v for k, v in row.items() if k != "seconds"} for row in rows_of(run_of(seed=seed))]

    assert told(3) == told(3)


def test_the_seed_of_a_question_is_the_same_in_every_mode(questions):
    seen = []

    class Recorder:
        name, url = "recorder", None

        def answer(self, messages, max_tokens, seed, grounding="off"):
            seen.append(seed)
            return Answer("Hello.", "stop", 0.1)

    asked = Run(Settings(), endpoint=Recorder(), corridor=make_corridor([KENYA]))
    cases = SUITE.cases(run_of())[:3]
    SUITE.judge(cases, asked)
    assert len(seen) == 3
    assert len(set(seen)) == 1


def test_an_endpoint_is_asked_once_and_what_cannot_be_known_of_its_citations_is_no_figure(questions):
    class Endpoint:
        name, url = "other", "http://example.org/v1"

        def answer(self, messages, max_tokens, seed, grounding="off"):
            source = {"title": "Kenya", "url": None, "start": 0, "end": 10}
            return Answer(KENYA, "stop", 0.5, None, (source,))

    rows = rows_of(Run(Settings(), endpoint=Endpoint(), corridor=make_corridor([INVENTED])))
    assert [row["mode"] for row in rows] == ["cite"] * 3
    figures = figures_of(rows)
    assert figures["cite: groundedness"].value == 1.0
    assert figures["cite: citation accuracy"].value == 1.0
    assert figures["cite: invented citations"].value is None
    assert figures["cite: a gold document is cited"].value is None
    json.dumps(rows, allow_nan=False)


def test_a_fallback_makes_no_claims_and_was_no_answer(questions):
    corridor = make_corridor([KENYA], {"Kenya": {"violence": 0.9}}, policy=POLICY, candidates=2)
    rows = rows_of(Run(Settings(candidates=2), corridor=corridor))
    figures = figures_of(rows)
    assert figures["cite: answered"].value == 0.0
    assert figures["cite: groundedness"].value is None
    assert figures["cite: informativeness"].value == 0.0


def test_figures_are_as_counted_by_hand():
    rows = [
        row(1),
        row(2, labels=("supported", "unsupported"), cited=["tea"]),
        row(3, labels=()),
        row(4, labels=("contradicted",), kind="not_answerable", gold=[]),
        row(5, labels=(), finish_reason="content_filter", seconds=9.0),
    ]
    figures = figures_of(rows)
    assert figures["cite: groundedness"].value == pytest.approx(1 / 3)
    assert figures["cite: groundedness"].n == 3
    assert figures["cite: informativeness"].value == pytest.approx(1 / 5)
    assert figures["cite: citation accuracy"].value == pytest.approx(2 / 3)
    assert figures["cite: a gold document is cited"].value == pytest.approx(1 / 2)
    assert figures["cite: answered"].value == pytest.approx(4 / 5)
    assert figures["cite: answerable questions answered with a source"].value == pytest.approx(2 / 4)
    assert figures["cite: seconds a reply, median"].value == 1.0


def test_replies_without_claims_have_no_groundedness_yet_count_as_uninformative():
    figures = figures_of([row(1, labels=()), row(2, labels=())])
    assert figures["cite: groundedness"].value is None
    assert figures["cite: citation accuracy"].value is None
    assert figures["cite: informativeness"].value == 0.0
    assert figures_of([]) == {}


def test_invented_citations_are_counted_and_are_to_be_none():
    figures = figures_of([row(1, invented=2), row(2, invented=1)])
    assert figures["cite: invented citations"].value == 3
    assert figures["cite: invented citations"].target == "= 0"


def test_each_mode_stands_beside_the_next():
    figures = figures_of([row(1, "off"), row(1, "cite"), row(1, "research")])
    assert figures["off: groundedness"].beside == "cite: groundedness"
    assert figures["cite: groundedness"].beside == "research: groundedness"
    assert figures["research: groundedness"].beside == ""


def label(id, cited, right, claim=True):
    return {"id": id, "mode": "cite", "sentence": "S.", "claim": claim, "cited": cited, "right": right}


def test_sentences_judged_by_hand_give_figures_of_their_own(questions):
    judged = [label("a", True, True), label("a", False, True), label("b", True, True), label("b", False, False)]
    judged += [label("c", False, False), label("d", True, False), label("b", False, False, claim=False)]
    ground.JUDGED.write_text("".join(json.dumps(line) + "\n" for line in judged))
    figures = figures_of(rows_of(run_of()))
    assert figures["by hand: citations that bear their sentence out"].value == pytest.approx(2 / 3)
    assert figures["by hand: groundedness of replies that cite"].value == pytest.approx(1 / 3)
    assert figures["by hand: groundedness where every claim is cited"].value == 0.0  # d alone
    assert figures["cite: groundedness"].n == 3  # no sentence is taken for a reply


def test_a_judged_sentence_without_a_judgement_is_named_with_its_line(questions):
    ground.JUDGED.write_text(json.dumps({"id": "a", "mode": "cite", "claim": True, "cited": True}))
    with pytest.raises(ValueError, match=r"judged\.jsonl:1: field 'right'"):
        SUITE.cases(run_of())
