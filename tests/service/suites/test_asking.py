"""Questions about the corpus: how they are read, and which of them are asked when not all are."""

import json
from collections import Counter

import pytest

from service.suites.asking import QUESTIONS, read_questions

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


def test_our_own_questions_name_documents_of_the_sample_corpus():
    kinds = Counter(q.kind for q in read_questions(QUESTIONS))
    assert sum(kinds.values()) >= 250
    assert {"answerable", "follow_up", "two_documents", "not_answerable", "false_premise", "chit_chat"} == set(kinds)
