"""Contexts with several candidates that people have labelled: our pools, a user's own, SafeText, and the pairs of harmless-base.

Knows where each comes from and its format. Does not know who picks.
"""

import gzip
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from classifiers.labelled import BadExample, Example, read_labelled
from classifiers.public_sets import PUBLIC_SETS, read_set
from data import POOLS
from service.suites.base import Row

PREFERENCES = "harmless pairs"
"""The source of pairs of which one reply was preferred: a preference, not a label."""


def own_pools() -> Iterator[Row]:
    """Each pool of data/pools: "id", "source", "context", "candidates" of "text", "unsafe", "helpful", "objectives"."""
    for line in (POOLS / "pools.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield {key: row[key] for key in ("id", "source", "context", "candidates")}


def labelled_pools(files: Sequence[Path]) -> list[Row]:
    """The contexts of a user's labelled exchanges that have two different replies or more, "helpful" null: whether a reply helps is
    no label of theirs. Replies without a context belong together by their pair.

    Raises `BadExample` where a line is none, or no context has two replies.
    """
    contexts: dict[object, dict[str, Example]] = defaultdict(dict)
    for file in files:
        for example in read_labelled(file):
            if example.role == "assistant":
                known = contexts[example.context or example.group].setdefault(example.reply, example)
                if known.objectives != example.objectives:
                    raise BadExample(f"{file}: {example.id!r} has other labels in another file")
    found = [
        {
            "id": next(iter(replies.values())).id,
            "source": "own",
            "context": [{"role": role, "content": content} for role, content in next(iter(replies.values())).context],
            "candidates": [
                {"text": text, "unsafe": e.unsafe, "helpful": None, "objectives": sorted(e.objectives)}
                for text, e in sorted(replies.items())  # the place tells nothing
            ],
        }
        for replies in contexts.values()
        if len(replies) > 1
    ]
    if not found:
        names = ", ".join(map(str, files))
        raise BadExample(f"{names}: no context has two labelled replies, so there is nothing to pick from")
    return found


def safetext_pools(folder: Path) -> Iterator[Row]:
    """The situations of SafeText that training did not see, each with its safe and unsafe continuations ("helpful" null)."""
    situations = defaultdict(list)
    for public_set in PUBLIC_SETS:
        if public_set.name == "safetext":
            for example in read_set(public_set, folder.parent):
                if example.split == "validation":
                    situations[example.group].append(example)
    for group, examples in situations.items():
        yield {
            "id": group,
            "source": "safetext",
            "context": [{"role": role, "content": content} for role, content in examples[0].context],
            "candidates": [
                {"text": e.reply, "unsafe": e.unsafe, "helpful": None, "objectives": sorted(e.objectives)}
                for e in sorted(examples, key=lambda e: e.reply)  # the place tells nothing
            ],
        }


def preference_pairs(folder: Path) -> Iterator[Row]:
    """The pairs of harmless-base that differ in the last reply alone: the chosen one stands for safe, the rejected for unsafe."""
    with gzip.open(folder / "test.jsonl.gz", "rt", encoding="utf-8") as file:
        for number, line in enumerate(file):
            pair = json.loads(line)
            (before, chosen), (other, rejected) = (_last_reply(pair[side]) for side in ("chosen", "rejected"))
            if before == other and before and chosen != rejected and chosen and rejected:
                yield {
                    "id": f"harmless-{number}",
                    "source": PREFERENCES,
                    "context": _turns(before),
                    "candidates": [
                        {"text": text, "unsafe": unsafe, "helpful": None, "objectives": []}
                        for text, unsafe in sorted([(chosen, False), (rejected, True)])  # the place tells nothing
                    ],
                }


def _last_reply(dialog: str) -> tuple[str, str]:
    before, _, reply = dialog.rpartition("\n\nAssistant:")
    return before, reply.strip()


def _turns(dialog: str) -> list[dict[str, str]]:
    parts = dialog.replace("\n\nHuman:", "\0user\0").replace("\n\nAssistant:", "\0assistant\0").split("\0")
    return [{"role": role, "content": content.strip()} for role, content in zip(parts[1::2], parts[2::2], strict=True)]
