"""Test collections: the formats they are read from, and the halves of their questions."""

import gzip
import json
from pathlib import Path

from service.suites.questions import Collection, Question, halves, read_classic, read_own, read_squad


def test_halves_are_disjoint_complete_and_do_not_change() -> None:
    many = Collection("many", (), tuple(Question(str(n), "", frozenset()) for n in range(1000)))
    parts = halves(many)
    assert (parts["held-out half"] ^ parts["tuning half"]).all()
    assert 450 < parts["held-out half"].sum() < 550
    assert [int(value) for value in parts["held-out half"][:8]] == [0, 1, 0, 0, 0, 0, 1, 0]


def test_a_classic_collection_is_read_without_unjudged_questions(tmp_path: Path) -> None:
    folder = tmp_path / "med"
    folder.mkdir()
    (folder / "corpus.jsonl").write_text('{"_id": "d", "title": "T", "text": "x"}\n{"_id": "e", "text": "y"}\n')
    (folder / "queries.jsonl").write_text('{"_id": "1", "text": "x?"}\n{"_id": "2", "text": "y?"}\n')
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n1\td\t1\n1\te\t0\n")
    read = read_classic(folder)
    assert read.texts == (("d", "T", "x"), ("e", "", "y"))
    assert read.questions == (Question("1", "x?", frozenset(["d"])),)


def test_squad_gives_answerable_questions_with_their_passage(tmp_path: Path) -> None:
    def question(id: str, impossible: bool) -> dict[str, object]:
        return {"id": id, "question": f"{id}?", "answers": [], "is_impossible": impossible}

    paragraphs = [{"context": "one", "qas": [question("a", True)]}, {"context": "two", "qas": [question("b", False)]}]
    path = tmp_path / "dev.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"data": [{"title": "An_Article", "paragraphs": paragraphs}]}).encode()))
    read = read_squad(path)
    assert read.texts == (("An Article#1", "An Article", "one"), ("An Article#2", "An Article", "two"))
    assert read.questions == (Question("b", "b?", frozenset(["An Article#2"])),)


def test_own_questions_name_documents_of_the_sample_corpus() -> None:
    own = read_own()
    documents = {document for document, _, _ in own.texts}
    assert len(own.questions) > 200
    assert all(question.relevant <= documents for question in own.questions)
    assert any(question.earlier for question in own.questions)
