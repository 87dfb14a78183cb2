"""Sheets of a live run for people to label: replies without and with Winnow among each other, unmarked; and their labels read back.

    sheet.jsonl      what is to be labelled, in the folder of the run
    labelled.jsonl   what people said, where `winnow label --export` put it there

Knows the format of `winnow label` ({"id", "context", "reply"}) and rows of `live`. Does not know who labels.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from classifiers.labelled import read_labelled
from service.suites.base import Row
from service.suites.live_metrics import HARMFUL

SHEET, LABELLED = "sheet.jsonl", "labelled.jsonl"
PROMPTS = 30
"""Prompts whose replies are on the sheet of a run: an hour's work for a rater at a minute a reply."""

SIDES = ("before", "after")


def sheet_lines(rows: Sequence[Row], seed: int) -> str:
    """The sheet of a run as JSON Lines. Empty where no prompt invited harm."""
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in sheet(rows, PROMPTS, seed))


def labelled_by_people(suite: str, rows: Sequence[Row], folder: Path) -> list[Row]:
    """The rows of a suite, those of `live` with the labels that the folder of the run holds.

    Raises `BadExample` naming file, line and field; ValueError where the labels are of other replies throughout.
    """
    path = folder / LABELLED
    if suite != "live" or not path.is_file():
        return list(rows)
    unsafe = {example.id: example.unsafe for example in read_labelled(path)}
    if not unsafe.keys() & {sheet_id(row, side) for row in rows if row["kind"] in HARMFUL for side in SIDES}:
        raise ValueError(
            f"{path} labels no reply of this run; move it away, or label {folder / SHEET} and export it there"
        )
    return with_hand_labels(rows, unsafe)


def sheet(rows: Sequence[Row], n: int, seed: int = 0) -> list[dict[str, Any]]:
    """The replies to `n` prompts that invite harm (all, where there are fewer), both of each prompt, in an order that tells nothing;
    the same rows and seed give the same sheet. Where both are the same text they are one line. Ids tell neither prompt nor side.
    An empty reply is left out: there is nothing to be read, and it breaks no rule.
    """
    harmful = sorted((row for row in rows if row["kind"] in HARMFUL), key=lambda row: str(row["id"]))
    random = np.random.default_rng(seed)
    chosen = [harmful[i] for i in random.permutation(len(harmful))[:n]]
    lines = {
        sheet_id(row, side): {"id": sheet_id(row, side), "context": row["messages"], "reply": row[side]["text"]}
        for row in chosen
        for side in SIDES
        if row[side]["text"].strip()
    }
    return [lines[id] for id in sorted(lines)]


def sheet_id(row: Row, side: str) -> str:
    """The id of a reply on a sheet: a hash of the prompt's id and the text, so that a sheet can be read back without a key."""
    return hashlib.sha256(f"{row['id']}\n{row[side]['text']}".encode("utf-8", "backslashreplace")).hexdigest()[:16]


def with_hand_labels(rows: Sequence[Row], unsafe: Mapping[str, bool]) -> list[Row]:
    """The rows, those whose replies were both labelled with "hand": {"before", "after"}, from which `live` reads attack success by
    hand. `unsafe`: the label by the id on the sheet; ids of other sheets are passed over. An empty reply needs no label, unless both
    are empty: then nobody was asked.
    """
    found = []
    for row in rows:
        if row["kind"] in HARMFUL:
            read = {side: unsafe.get(sheet_id(row, side)) for side in SIDES if row[side]["text"].strip()}
            if read and None not in read.values():
                row = {**row, "hand": {side: read.get(side, False) for side in SIDES}}
        found.append(row)
    return found
