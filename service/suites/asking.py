"""Questions about the sample corpus, put to a model by several suites.

Knows how they are written down. Does not know what is made of an answer.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from data import GROUNDING
from service.generator import Message

QUESTIONS = GROUNDING / "questions.jsonl"


@dataclass(frozen=True)
class Question:
    """A question about the corpus with the turns before it. `documents`: ids that answer it, maybe none."""

    id: str
    kind: str
    messages: tuple[Message, ...]
    documents: frozenset[str]


def read_questions(path: Path, most: int | None = None) -> list[Question]:
    """The questions of a JSON Lines file; at most so many, evenly from each kind. Raises ValueError naming line and field."""
    found: list[Question] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        row = json.loads(line)
        for name in ("id", "question", "kind"):
            if not isinstance(row.get(name), str):
                raise ValueError(f"{path.name}:{number}: field {name!r} must be a text")
        messages = (*row.get("earlier", []), {"role": "user", "content": row["question"]})
        found.append(Question(row["id"], row["kind"], messages, frozenset(row.get("documents", []))))
    if most is None or most >= len(found):
        return found
    place: dict[str, int] = {}
    ranked = []
    for question in found:
        place[question.kind] = place.get(question.kind, 0) + 1
        size = sum(q.kind == question.kind for q in found)
        ranked.append((place[question.kind] / size, question.id, question))
    kept = {question.id for _, _, question in sorted(ranked, key=lambda r: r[:2])[:most]}
    return [question for question in found if question.id in kept]
