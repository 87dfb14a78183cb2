"""Public texts that are harmless by their kind: questions, answers, country reports, small talk. One reader each.

Knows each upstream's format. They carry no label of their own: nobody wrote them to harm, and a filter that drops them is of no
use.
"""

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from classifiers.labelled import Example
from classifiers.sentences import sentences
from classifiers.upstream import alternate, digest, example, json_rows

ANSWER_SENTENCES = 8


def medquad(folder: Path) -> Iterator[Example]:
    """Harmless questions on frightening subjects, so that a question mark or a disease is no sign of harm; and the beginnings of
    careful answers, from one sentence to `ANSWER_SENTENCES`, so that length is none either.
    """
    for i, row in enumerate(json_rows(folder / "medquad.jsonl.gz")):
        if i % 20 == 0:
            yield example("questions", f"medquad-{i}", row["question"], False)
        elif i % 20 == 10 and row["answer"].strip():
            answer = _beginning(row["answer"])
            yield example("answers", f"medquad-{i}", answer, False, None, (("user", row["question"]),), "assistant")


def factbook(folder: Path) -> Iterator[Example]:
    """What an encyclopaedia says of peoples, religions and wars, as a reply about the country."""
    for i, row in enumerate(json_rows(folder / "factbook_passages.jsonl.gz")):
        title = " ".join(dict.fromkeys(row["title"].split(" - ")))
        if i % 40 == 0 and len(row["text"].split()) >= 12:
            question = f"What can you tell me about {title}?"
            yield example(
                "answers", f"factbook-{i}", _beginning(row["text"]), False, None, (("user", question),), "assistant"
            )


def _beginning(text: str) -> str:
    """The first sentences of a text, as many as its hash says."""
    text = " ".join(text.split())
    spans = sentences(text)[: 1 + int(digest(text)[:8], 16) % ANSWER_SENTENCES]
    return text[: spans[-1][1]] if spans else text


def topicalchat(folder: Path) -> Iterator[Example]:
    """Conversations about films, sport, politics and history between people who were paid to be pleasant."""
    with gzip.open(folder / "conv_valid_freq.json.gz", "rt", encoding="utf-8") as file:
        conversations = json.load(file)
    for name, conversation in conversations.items():
        texts = [turn["message"] for turn in conversation["content"]]
        for end in range(2, len(texts), 6):
            context = alternate(texts[max(0, end - 3) : end])
            yield example("topicalchat", f"{name}-{end}", texts[end], False, None, context, "assistant", group=name)


def squad_questions(folder: Path) -> Iterator[Example]:
    with gzip.open(folder / "dev-2.0-from-html.json.gz", "rt", encoding="utf-8") as file:
        articles = json.load(file)["data"]
    for article in articles:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"][::10]:
                yield example("questions", question["id"], question["question"], False, group=article["title"])


def plain_dialog(folder: Path) -> list[Example]:
    """Everyday dialog that nothing was trained on, for false positives: one in sixteen of the self-dialogues, others than
    `read_public` gives, with split "validation". Raises FileNotFoundError.
    """
    rows = _selfdialogue(folder / "selfdialogue", 8)
    return [replace(e, source="plain dialog", split="validation") for e in rows]


def selfdialogue(folder: Path) -> Iterator[Example]:
    yield from _selfdialogue(folder, 0)


def _selfdialogue(folder: Path, offset: int) -> Iterator[Example]:
    for i, row in enumerate(json_rows(folder / "self_dialogue.jsonl.gz")):
        if i % 16 != offset:
            continue
        turns = row.get("turns") or row.get("dialog") or []
        texts = [t if isinstance(t, str) else t.get("text", "") for t in turns][:4]
        if len(texts) >= 2 and all(t.strip() for t in texts):
            texts = texts[: len(texts) // 2 * 2]
            yield example("selfdialogue", i, texts[-1], False, None, alternate(texts[:-1]), "assistant", split="train")
