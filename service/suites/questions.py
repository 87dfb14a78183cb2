"""Test collections: questions with the documents that answer them, and the halves they are tuned and judged on.

Knows the formats of the classic collections, of SQuAD 2.0 and of the project's own questions. Does not search.
"""

import gzip
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data import ROOT as OWN
from retrieval.corpus import Document, read_documents, split_passages

CLASSIC = ("med", "cisi", "time", "lisa", "adi")
COLLECTIONS = (*CLASSIC, "squad2", "own")


@dataclass(frozen=True)
class Question:
    """One question with the turns before it and the ids of the documents that answer it."""

    id: str
    text: str
    relevant: frozenset[str]
    earlier: tuple[str, ...] = ()


@dataclass(frozen=True)
class Collection:
    """Questions over texts to search, as (id of the document, title, text); several texts may be of one document."""

    name: str
    texts: tuple[tuple[str, str, str], ...]
    questions: tuple[Question, ...]


def read_classic(folder: Path) -> Collection:
    """corpus.jsonl ({_id, title, text}), queries.jsonl ({_id, text}) and qrels.tsv (query-id, corpus-id, score, with a heading).

    Questions without a relevant document are left out. Raises FileNotFoundError, naming the file.
    """
    relevant: dict[str, set[str]] = {}
    for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, score = line.split("\t")
        if int(score) > 0:
            relevant.setdefault(query, set()).add(document)
    texts = tuple((d["_id"], d.get("title", ""), d["text"]) for d in read_lines(folder / "corpus.jsonl"))
    questions = tuple(
        Question(query["_id"], query["text"], frozenset(relevant[query["_id"]]))
        for query in read_lines(folder / "queries.jsonl")
        if query["_id"] in relevant
    )
    return Collection(folder.name, texts, questions)


def read_squad(path: Path) -> Collection:
    """SQuAD 2.0's own format, gzipped: every paragraph is a text, every answerable question is relevant to its own."""
    texts: list[tuple[str, str, str]] = []
    questions: list[Question] = []
    for article in json.loads(gzip.decompress(path.read_bytes()))["data"]:
        title = article["title"].replace("_", " ")
        for number, paragraph in enumerate(article["paragraphs"], start=1):
            texts.append((f"{title}#{number}", title, paragraph["context"]))
            questions += [
                Question(asked["id"], asked["question"], frozenset([f"{title}#{number}"]))
                for asked in paragraph["qas"]
                if not asked["is_impossible"]
            ]
    return Collection("squad2", tuple(texts), tuple(questions))


def read_own(data: Path = OWN) -> Collection:
    """The questions with gold documents over the sample corpus, cut into passages as an index cuts it."""
    documents: Sequence[Document] = read_documents(data / "corpus")[0]
    texts = tuple((p.document_id, p.title, p.text) for document in documents for p in split_passages(document))
    questions = tuple(
        Question(q["id"], q["question"], frozenset(q["documents"]), tuple(turn["content"] for turn in q["earlier"]))
        for q in read_lines(data / "grounding" / "questions.jsonl")
        if q["documents"]
    )
    return Collection("own", texts, questions)


def read(name: str, datasets: Path) -> Collection:
    """The collection of this name. Raises FileNotFoundError, naming the file that is missing."""
    if name == "own":
        return read_own()
    return (
        read_squad(datasets / "squad2" / "dev-2.0-from-html.json.gz")
        if name == "squad2"
        else read_classic(datasets / "ir" / name)
    )


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def held_out(collection: str, question: str) -> bool:
    """Whether a question is of the half on which no setting was chosen."""
    return hashlib.sha256(f"{collection}/{question}".encode()).digest()[-1] % 2 == 1


def halves(collection: Collection) -> dict[str, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Which questions, in order, each table is about."""
    out = np.array([held_out(collection.name, question.id) for question in collection.questions], dtype=bool)
    return {"all queries": np.ones_like(out), "held-out half": out, "tuning half": ~out}
