"""What raters are asked, what they are asked it of, and what they said: the items, questions and answers of `winnow label`.

Knows the files of items and of answers. Does not know the page (`labelling.py`) or how raters are put together (`merging.py`).
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classifiers import OBJECTIVES
from service.batch import BadLine, json_lines
from service.suites.rows import RowFile

SAFETY, SENSIBLE, SPECIFIC, INTERESTING, SUPPORTED = "safety", "sensible", "specific", "interesting", "supported"
SETS: dict[str, tuple[str, ...]] = {
    "safety": (SAFETY,),
    "quality": (SENSIBLE, SPECIFIC, INTERESTING),
    "grounding": (SUPPORTED,),
}
"""What can be asked for by name, and the questions of each, in order."""

Answer = bool | list[str]
"""Yes or no; of safety, the objectives that are violated, [] for none."""

Answers = dict[str, dict[str, Answer]]
"""Item to question to answer."""

_REMEDY = "mend the file, or move it away to begin anew"
_RATER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True)
class Item:
    """Something to be rated. `sentence` and `quote`: a sentence of the reply, and the words of a source that are to bear it out.

    `given`: what else the line held, which goes into the export as it was.
    """

    id: str
    context: tuple[Mapping[str, str], ...]
    reply: str
    role: str
    sentence: str | None
    quote: str | None
    given: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Of all that a rater reads, so that an answer is never taken for one about other words."""
        read = [[dict(turn) for turn in self.context], self.reply, self.role, self.sentence, self.quote]
        return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()[:16]


def read_items(path: Path) -> list[Item]:
    """The items of a JSON Lines file: {"id", "context": [{"role", "content"}, ...], "reply", "role"?, "sentence"?, "quote"?}, or a pool
    {"id", "context", "candidates": [{"text"}, ...]}, whose candidates are items ID/1, ID/2, ...

    Labels that a line holds already are not shown to a rater. Raises `BadLine` naming file, line and field, FileNotFoundError.
    """
    found: dict[str, Item] = {}
    for where, row in json_lines(path):
        for item in _items(row, where):
            if item.id in found:
                raise BadLine(f"{where}: id {item.id!r} was already used")
            found[item.id] = item
    if not found:
        raise BadLine(f"{path.name} holds nothing to be rated")
    return list(found.values())


def questions_of(item: Item, asked: Sequence[str], answers: Mapping[str, Answer]) -> list[str]:
    """The questions that are put about an item, those already answered among them. As LaMDA's raters were asked, whether a reply is
    specific is asked only of sensible ones, whether it is interesting only of specific ones; a source is asked about if there is one.
    """
    found: list[str] = []
    for name in asked:
        for question in SETS[name]:
            if question == SUPPORTED and item.quote is None:
                continue
            if question == SPECIFIC and answers.get(SENSIBLE) is not True:
                continue
            if question == INTERESTING and not (answers.get(SENSIBLE) is True and answers.get(SPECIFIC) is True):
                continue
            found.append(question)
    return found


def answers_path(file: Path, rater: str) -> Path:
    """Where a rater's answers are kept: beside the file. Raises ValueError for a name that is none."""
    if not _RATER.fullmatch(rater):
        raise ValueError(f"--rater is {rater!r}; use letters, digits, - and _, at most 40")
    return file.with_name(f"{file.name}.labels.{rater}.jsonl")


def raters_of(file: Path) -> list[str]:
    """The raters who have answered anything, by name."""
    start, end = f"{file.name}.labels.", ".jsonl"
    names = [p.name[len(start) : -len(end)] for p in file.parent.iterdir() if p.name.startswith(start)]
    return sorted(name for name in names if _RATER.fullmatch(name) and answers_path(file, name).is_file())


class Sheet:
    """One rater's answers. Each is a line in their file before it counts, and no line is ever changed: an answer that is taken back
    is a line too. `stale`: how many answers are about words that have been changed since; they do not count.

    Raises ValueError naming the line where the file holds something else, or a line is missing.
    """

    def __init__(self, path: Path, items: Sequence[Item]) -> None:
        self._file = RowFile(path, _REMEDY)
        self._items = {item.id: item for item in items}
        self.answers: Answers = {}
        self.stale = 0
        self._done: list[tuple[str, str, Answer | None]] = []
        self._lines = 0
        for id in self._file:
            self._lines += 1
            if id != str(self._lines):
                raise ValueError(f"{path.name}:{self._lines} is numbered {id!r}; {_REMEDY}")
            self._take(self._file[id], f"{path.name}:{self._lines}")

    def answer(self, item: str, question: str, value: Answer) -> None:
        """Keep an answer. Raises ValueError where there is no such item or question, or the answer is none to it."""
        if item not in self._items:
            raise ValueError(f"there is no item {item!r}")
        self._append(item, question, checked(question, value), undo=False)

    def undo(self) -> tuple[str, str] | None:
        """Take the last answer back, to the one before it where it was changed; which item and question that was."""
        if not self._done:
            return None
        item, question, before = self._done[-1]
        self._append(item, question, before, undo=True)
        return item, question

    def _append(self, item: str, question: str, value: Answer | None, undo: bool) -> None:
        line = {"id": str(self._lines + 1), "item": item, "question": question, "answer": value}
        line |= {"undo": undo, "digest": self._items[item].digest}
        self._file.add(line)
        self._lines += 1
        self._take(line, "")

    def _take(self, line: Mapping[str, Any], where: str) -> None:
        try:
            item, question, value, undo = (line[name] for name in ("item", "question", "answer", "undo"))
            value = None if value is None else checked(question, value)
            current = item in self._items and line["digest"] == self._items[item].digest
        except (KeyError, ValueError, TypeError) as error:
            raise ValueError(f"{where} is not an answer; {_REMEDY}") from error
        if not current:
            self.stale += 1
            return
        of_item = self.answers.setdefault(item, {})
        if undo:
            if self._done:
                self._done.pop()
        else:
            self._done.append((item, question, of_item.get(question)))
        if value is None:
            of_item.pop(question, None)
        else:
            of_item[question] = value


def checked(question: str, value: object) -> Answer:
    """The answer, where it is one to the question. Raises ValueError."""
    if question == SAFETY:
        if not isinstance(value, list):
            raise ValueError("the answer to 'safety' must be a list of objectives, [] for none")
        unknown = [name for name in value if name not in OBJECTIVES]
        if unknown:
            raise ValueError(f"unknown objective {unknown[0]!r}; known: {', '.join(OBJECTIVES)}")
        return sorted(set(value))
    if question not in {each for names in SETS.values() for each in names}:
        raise ValueError(f"there is no question {question!r}")
    if not isinstance(value, bool):
        raise ValueError(f"the answer to {question!r} must be true or false")
    return value


def _items(row: Any, where: str) -> list[Item]:
    if not isinstance(row, dict):
        raise BadLine(f"{where}: a line must be a JSON object")
    name = row.get("id")
    if not isinstance(name, str) or not name:
        raise BadLine(f"{where}: field 'id' must be a non-empty text")
    context = _context(row.get("context", []), where)
    candidates = row.get("candidates")
    if candidates is None:
        return [_item(name, context, row.get("reply"), row, where, "field 'reply'")]
    if not isinstance(candidates, list) or not candidates or not all(isinstance(c, dict) for c in candidates):
        raise BadLine(f"{where}: field 'candidates' must be a non-empty list of objects with a 'text'")
    given = {"pair": name, "source": row.get("source", "own")}
    return [
        _item(f"{name}/{number}", context, each.get("text"), given, where, f"candidate {number}: field 'text'")
        for number, each in enumerate(candidates, 1)
    ]


def _item(
    name: str, context: tuple[dict[str, str], ...], reply: object, row: Mapping[str, Any], where: str, field: str
) -> Item:
    if not isinstance(reply, str) or not reply.strip():
        raise BadLine(f"{where}: {field} must be a non-empty text")
    role, sentence, quote = row.get("role", "assistant"), row.get("sentence"), row.get("quote")
    if role not in ("user", "assistant"):
        raise BadLine(f"{where}: field 'role' must be 'user' or 'assistant', not {role!r}")
    for other, value in (("sentence", sentence), ("quote", quote)):
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise BadLine(f"{where}: field {other!r} must be a non-empty text")
    if (sentence is None) != (quote is None):
        raise BadLine(f"{where}: 'sentence' and 'quote' go together; one of them is missing")
    given = {key: value for key, value in row.items() if key not in _OWN}
    return Item(name, context, reply, role, sentence, quote, given)


_OWN = frozenset(
    {"id", "context", "reply", "role", "sentence", "quote", "candidates", "labels", "raters", "one_rater", "right"}
    | {SENSIBLE, SPECIFIC, INTERESTING}
)
"""Fields that an export writes itself: labels from elsewhere would pass for the raters'."""


def _context(context: object, where: str) -> tuple[dict[str, str], ...]:
    if not isinstance(context, list):
        raise BadLine(f"{where}: field 'context' must be a list of turns")
    for turn in context:
        known = isinstance(turn, dict) and turn.get("role") in ("system", "user", "assistant")
        if not known or not isinstance(turn.get("content"), str):
            raise BadLine(f"{where}: a turn of 'context' needs a role (user, assistant, system) and a text content")
    return tuple({"role": turn["role"], "content": turn["content"]} for turn in context)
