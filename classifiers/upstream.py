"""What the readers of public sets share: an upstream's rows, and an `Example` made of one.

Knows files and the fields of an example. Does not know any one set.
"""

import csv
import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from classifiers.labelled import Example, Turn, split_of


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def example(
    source: str,
    number: object,
    reply: str,
    unsafe: bool,
    objective: str | None = None,
    context: tuple[Turn, ...] = (),
    role: str = "user",
    group: str | None = None,
    split: str | None = None,
    labelled_for: str | None = None,
) -> Example:
    key = f"{source}:{number}"
    group = f"{source}:{group if group is not None else number}"
    return Example(
        id=key,
        context=context,
        reply=reply.strip() or ".",
        role=role,
        unsafe=unsafe,
        objectives=frozenset([objective] if unsafe and objective else []),
        complete=False,
        group=group,
        source=source,
        split=split or split_of(group, (0.85, 0.0, 0.15, 0.0)),
        labelled_for=labelled_for,
    )


def alternate(texts: list[str]) -> tuple[Turn, ...]:
    """Turns of a thread, so that the last one is the user's."""
    roles = ["user" if (len(texts) - i) % 2 else "assistant" for i in range(len(texts))]
    return tuple(zip(roles, (t.strip() for t in texts), strict=True))


def csv_rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def json_rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        yield from (json.loads(line) for line in file)
