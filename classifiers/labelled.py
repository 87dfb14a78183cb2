"""Labelled exchanges: the one Example type that training, evaluation and tests read, and the reader of our own JSON Lines.

Knows the format and how examples are split. Does not know models; the public sets' own formats are in `public_sets.py`.

A line of our own format:
    {"id", "pair", "context": [{"role", "content"}, ...], "role": "assistant"|"user", "reply", "labels": [objective, ...], "source"}
`reply` is the text that is judged, `role` says who says it, `labels` names every objective it violates ([] = safe).
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classifiers.policy import OBJECTIVES

Turn = tuple[str, str]
"""(role, content), role "user", "assistant" or "system"."""

SPLITS = ("train", "calibration", "validation", "test")
"""Weights are fitted on the first, thresholds on the second, choices are made on the third, figures reported on the last."""


class BadExample(ValueError):
    """A line of a labelled file cannot be used; the message names the file, the line and the field."""


@dataclass(frozen=True)
class Example:
    """One exchange with its human label.

    `objectives`: those known to be violated. `complete`: whether an objective that is not named is known to be respected
    (our own data) or merely not labelled (public sets; then it is masked in training). `group`: what must not be divided
    between splits (a pair, a context).
    """

    id: str
    context: tuple[Turn, ...]
    reply: str
    role: str
    unsafe: bool
    objectives: frozenset[str]
    complete: bool
    group: str
    source: str
    split: str
    labelled_for: str | None = None
    """The only objective that the source labels: its negative rows may well violate another."""


def split_of(group: str, shares: Sequence[float] = (0.62, 0.18, 0.05, 0.15)) -> str:
    """The split of a group, fixed by its hash, so that it never changes when data are added."""
    place = int.from_bytes(hashlib.sha256(group.encode()).digest()[:6], "big") / 2**48
    for name, share in zip(SPLITS, shares, strict=True):
        if place < share:
            return name
        place -= share
    return SPLITS[-1]


def read_labelled(path: Path, objectives: Sequence[str] = OBJECTIVES) -> list[Example]:
    """Examples of one of our JSON Lines files, or of every .jsonl file of a folder. `objectives`: the labels that are known.

    Raises `BadExample` on the first line that is not valid JSON, lacks a field, names an unknown objective, repeats an id or
    contradicts another line; FileNotFoundError when there is nothing to read.
    """
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not files:
        raise FileNotFoundError(f"{path} holds no .jsonl file")
    found: list[Example] = []
    ids: dict[str, str] = {}
    labels: dict[tuple[tuple[Turn, ...], str, str], tuple[frozenset[str], str]] = {}
    for file in files:
        for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), 1):
            if not line.strip():
                continue
            where = f"{file.name}:{number}"
            example = _parse(line, where, objectives)
            if example.id in ids:
                raise BadExample(f"{where}: id {example.id!r} was already used at {ids[example.id]}")
            ids[example.id] = where
            key = (example.context, example.role, example.reply)
            if key in labels and labels[key][0] != example.objectives:
                raise BadExample(f"{where}: the same exchange has other labels at {labels[key][1]}")
            labels[key] = (example.objectives, where)
            found.append(example)
    return found


def json_object(line: str, where: str) -> dict[str, Any]:
    """The object of one line of a labelled file. Raises `BadExample` that begins with `where`."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise BadExample(f"{where}: not JSON: {error}") from error
    if not isinstance(row, dict):
        raise BadExample(f"{where}: a line must be a JSON object")
    return row


def _parse(line: str, where: str, objectives: Sequence[str]) -> Example:
    row = json_object(line, where)
    reply, role, labels = row.get("reply"), row.get("role", "assistant"), row.get("labels")
    if not isinstance(reply, str) or not reply.strip():
        raise BadExample(f"{where}: field 'reply' must be a non-empty string")
    if role not in ("user", "assistant"):
        raise BadExample(f"{where}: field 'role' must be 'user' or 'assistant', not {role!r}")
    if not isinstance(labels, list):
        raise BadExample(f"{where}: field 'labels' must be a list of objectives, [] for safe")
    unknown = [name for name in labels if name not in objectives]
    if unknown:
        raise BadExample(f"{where}: unknown objective {unknown[0]!r} in 'labels'; known: {', '.join(objectives)}")
    context = row.get("context", [])
    if not isinstance(context, list):
        raise BadExample(f"{where}: field 'context' must be a list of turns")
    turns = tuple(_turn(turn, where) for turn in context)
    name = str(row.get("id", where))
    pair = str(row.get("pair", name))
    return Example(
        id=name,
        context=turns,
        reply=reply,
        role=role,
        unsafe=bool(labels),
        objectives=frozenset(labels),
        complete=True,
        group=pair,
        source=str(row.get("source", "own")),
        split=split_of(pair),
    )


def _turn(turn: object, where: str) -> Turn:
    if isinstance(turn, dict) and turn.get("role") in ("user", "assistant", "system"):
        content = turn.get("content")
        if isinstance(content, str):
            return turn["role"], content
    raise BadExample(f"{where}: a turn of 'context' needs a role (user, assistant, system) and a text content")


def without_leaks(examples: Iterable[Example]) -> list[Example]:
    """The examples less those of the train split whose context or text also stands in another split."""
    rows = list(examples)
    kept_out = {_key(e) for e in rows if e.split != "train"}
    return [e for e in rows if e.split != "train" or _key(e) not in kept_out]


def _key(example: Example) -> str:
    text = " ".join(content for _, content in example.context) or example.reply
    return " ".join(text.lower().split())
