"""The sources suite: what each figure counts, that a killed run goes on, and what a hand label says."""

import json
from collections import Counter

import pytest
from rich.console import Console

from data import GROUNDING
from service.sources_evaluation import MODES, answer_all, figures, hand_figures, print_figures, read_questions
from tests.service.scripted import INVENTED, KENYA, make_corridor

ROWS = [
    {"id": f"{kind}{i}", "question": "What is the capital of Kenya?", "kind": kind, "documents": documents}
    for kind, documents, n in (("answerable", ["kenya"], 6), ("chit_chat", [], 2))
    for i in range(n)
]


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)))
    return path


def test_a_part_of_the_questions_is_drawn_evenly_from_each_kind(questions):
    assert len(read_questions(questions)) == 8
    assert Counter(q.kind for q in read_questions(questions, 4)) == {"answerable": 3, "chit_chat": 1}
    assert read_questions(questions, 4) == read_questions(questions, 4)


def test_a_question_comes_with_the_turns_before_it(tmp_path):
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    (tmp_path / "q.jsonl").write_text(json.dumps({**ROWS[0], "earlier": turns}))
    (question,) = read_questions(tmp_path / "q.jsonl")
    assert [m["role"] for m in question.messages] == ["user", "assistant", "user"]
    assert question.messages[-1]["content"] == ROWS[0]["question"]


def test_a_question_without_a_kind_is_named_with_its_line(tmp_path):
    (tmp_path / "q.jsonl").write_text(json.dumps(ROWS[0]) + "\n" + json.dumps({"id": "x", "question": "Y?"}))
    with pytest.raises(ValueError, match=r"q\.jsonl:2: field 'kind'"):
        read_questions(tmp_path / "q.jsonl")


def test_rows_are_kept_as_they_come_and_a_killed_run_goes_on_from_them(questions, tmp_path):
    asked, kept = read_questions(questions), tmp_path / "rows.jsonl"
    corridor = make_corridor([KENYA])
    first = answer_all(corridor, asked[:2], MODES, 2, 1, kept)
    assert len(kept.read_text().splitlines()) == 6
    calls = len(corridor.generator.calls)
    again = answer_all(corridor, asked[:3], MODES, 2, 1, kept)
    assert again[:6] == first
    assert len(kept.read_text().splitlines()) == 9
    assert len(corridor.generator.calls) > calls
    other = answer_all(corridor, asked[:1], MODES[:1], 2, 7, kept)  # of another seed nothing is taken over
    assert other[0]["versions"]["seed"] == 7


def test_figures_count_what_they_say(questions, tmp_path):
    asked = read_questions(questions)
    good = answer_all(make_corridor([KENYA]), asked, ["off", "cite"], 2, 1, tmp_path / "good.jsonl")
    found = figures(good, [])["modes"]["cite"]
    for name in ("answered", "groundedness", "informativeness", "replies_that_cite", "cites_a_gold_document"):
        assert found[name]["value"] == 1.0
    assert found["cites_a_gold_document"]["n"] == 6  # chit-chat has no gold document
    assert found["invented_citations"] == 0
    # Without sources the same reply would be borne out as well; that nobody looked is no merit of the mode.
    assert figures(good, [])["modes"]["off"]["groundedness"]["value"] == 1.0
    bad = answer_all(make_corridor([f"{KENYA} {INVENTED}"]), asked, ["cite"], 2, 1, tmp_path / "bad.jsonl")
    found = figures(bad, [])["modes"]["cite"]
    assert (found["groundedness"]["value"], found["informativeness"]["value"]) == (0.0, 0.0)
    assert found["replies_that_cite"]["value"] == 1.0


def test_replies_without_claims_count_for_informativeness_alone(questions, tmp_path):
    rows = answer_all(make_corridor(["I am glad to help."]), read_questions(questions), ["cite"], 2, 1, tmp_path / "r")
    found = figures(rows, [])["modes"]["cite"]
    assert found["groundedness"]["value"] is None
    assert found["informativeness"]["value"] == 0.0


def label(id, cited, right, claim=True):
    return {"id": id, "mode": "cite", "sentence": "S.", "claim": claim, "cited": cited, "right": right}


def test_hand_labels_give_the_accuracy_of_citations_and_the_groundedness_of_replies_that_cite():
    judged = [label("a", True, True), label("a", False, True), label("b", True, True), label("b", False, False)]
    judged += [label("c", False, False), label("d", True, False), label("b", False, False, claim=False)]
    found = hand_figures(judged)
    assert found["sentences"] == 7
    assert found["citation_accuracy"]["value"] == pytest.approx(2 / 3)
    assert found["groundedness_of_cited_replies"]["value"] == pytest.approx(1 / 3)
    assert (found["groundedness_where_all_is_cited"]["value"], found["groundedness_where_all_is_cited"]["n"]) == (
        0.0,
        1,
    )
    assert hand_figures([])["citation_accuracy"]["value"] is None


def test_the_report_prints_every_figure_with_its_n(questions, tmp_path):
    rows = answer_all(make_corridor([KENYA]), read_questions(questions), ["cite"], 2, 1, tmp_path / "r")
    out = Console(width=200, record=True, file=open(tmp_path / "out", "w"))  # noqa: SIM115
    print_figures(figures(rows, [label("a", True, True)]), out)
    text = out.export_text()
    out.file.close()
    assert "groundedness" in text
    assert "n 8" in text
    assert "judged by hand: 1 sentences" in text


def test_our_own_questions_name_documents_of_the_sample_corpus():
    kinds = Counter(q.kind for q in read_questions(GROUNDING / "questions.jsonl"))
    assert sum(kinds.values()) >= 250
    assert {"answerable", "follow_up", "two_documents", "not_answerable", "false_premise", "chit_chat"} == set(kinds)
