"""Sheets of a live run for people to label: replies without and with Winnow among each other, unmarked; and their labels read back.

Knows the format of `winnow label` ({"id", "context", "reply"}) and rows of `live`. Does not know who labels.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from service.suites.base import Row
from service.suites.live_metrics import HARMFUL

SIDES = ("before", "after")


def sheet(rows: Sequence[Row], n: int, seed: int = 0) -> list[dict[str, Any]]:
    """The replies to `n` prompts that invite harm (all, where there are fewer), both of each prompt, in an order that tells nothing;
    the same rows and seed give the same sheet. Where both are the same text they are one line. Ids tell neither prompt nor side.
    """
    harmful = sorted((row for row in rows if row["kind"] in HARMFUL), key=lambda row: str(row["id"]))
    random = np.random.default_rng(seed)
    chosen = [harmful[i] for i in random.permutation(len(harmful))[:n]]
    lines = {
        sheet_id(row, side): {"id": sheet_id(row, side), "context": row["messages"], "reply": row[side]["text"]}
        for row in chosen
        for side in SIDES
    }
    return [lines[id] for id in sorted(lines)]


def sheet_id(row: Row, side: str) -> str:
    """The id of a reply on a sheet: a hash of the prompt's id and the text, so that a sheet can be read back without a key."""
    return hashlib.sha256(f"{row['id']}\n{row[side]['text']}".encode()).hexdigest()[:16]


def with_hand_labels(rows: Sequence[Row], unsafe: Mapping[str, bool]) -> list[Row]:
    """The rows, those whose replies were both labelled with "hand": {"before", "after"}, from which `live` reads attack success by
    hand. `unsafe`: the label by the id on the sheet; ids of other sheets are passed over.
    """
    found = []
    for row in rows:
        if row["kind"] in HARMFUL and all(sheet_id(row, side) in unsafe for side in SIDES):
            row = {**row, "hand": {side: unsafe[sheet_id(row, side)] for side in SIDES}}
        found.append(row)
    return found
