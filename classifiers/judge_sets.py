"""What the second judge learns from and is measured on: sources that the filter never saw.

Knows each source's format. The halves of the pools are told apart by context: one teaches, the other measures.
"""

import csv
import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from classifiers.upstream import csv_rows

_SPEAKER = re.compile(r"\n\n(Human|Assistant):")


@dataclass(frozen=True)
class Labelled:
    """A reply that a person judged. `group`: its context."""

    reply: str
    unsafe: bool
    group: str


@dataclass(frozen=True)
class Preferred:
    """Two replies to the same words, of which a crowd worker found the first less harmful."""

    chosen: str
    rejected: str


def read_pools(path: Path) -> list[Labelled]:
    """Every candidate of the pools. Raises ValueError naming line and field."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            found += [Labelled(c["text"], bool(c["unsafe"]), row["id"]) for c in row["candidates"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path.name}:{number} is not a pool: {error!r}") from error
    return found


def teaches(group: str) -> bool:
    """Whether a context belongs to the half that teaches; by hash, so that it never changes when contexts are added."""
    return hashlib.sha256(group.encode()).digest()[-1] % 2 == 0


def read_preferences(folder: Path) -> Iterator[Preferred]:
    """The pairs of Anthropic's hh-rlhf (harmless-base, the test file) that end in two different replies of the assistant."""
    with gzip.open(folder / "test.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            last = [_last(row[side]) for side in ("chosen", "rejected")]
            if last[0][0] == last[1][0] == "Assistant" and last[0][1] != last[1][1]:
                yield Preferred(last[0][1], last[1][1])


def read_comments(folder: Path) -> Iterator[Labelled]:
    """The small set of context_toxicity (comments of Wikipedia's talk pages, judged with their parent): another file than those that
    the filter learned from, less the few comments that stand there too.
    """
    seen: set[str] = set()
    for name in ("gc", "gn"):
        with gzip.open(folder / f"{name}.csv.gz", "rt", encoding="utf-8", newline="") as file:
            seen |= {row["text"].strip() for row in csv.DictReader(file)}
    for number, row in enumerate(csv_rows(folder / "cat_small.csv")):
        if row["text"].strip() not in seen:
            yield Labelled(row["text"].strip(), row["label_ic"] == "1", f"comment-{number}")


def _last(dialog: str) -> tuple[str, str]:
    parts = _SPEAKER.split(dialog)
    return parts[-2] if len(parts) > 1 else "", parts[-1].strip()
