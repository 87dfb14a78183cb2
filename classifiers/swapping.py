"""Counterfactual augmentation (Lu et al., 2018): contrast groups once more with another identity term, labels as they were.

Knows terms and exchanges. What decides must be what is said, not of whom; pairs written by hand name some people more often
than others.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from classifiers.labelled import Example

AMBIGUOUS = frozenset(
    {"straight", "young", "white", "blind", "poor", "rich", "male", "female", "middle-aged", "elderly"}
)
"""Terms that are taken in for another, but not taken out: "white paint" and "a blind date" are about nobody."""


def swapped(examples: Sequence[Example], terms: Sequence[str], times: int = 2) -> list[Example]:
    """For each group of our own train rows that names one of the terms, the group so many times again, each time with another term
    everywhere in it.

    Ids and groups end in "#swap1" and so on, the source is "own, swapped". Which terms come in is drawn by a hash of the group.
    """
    groups: dict[str, list[Example]] = defaultdict(list)
    for e in examples:
        if e.complete and e.split == "train":
            groups[e.group].append(e)
    found = []
    for group, rows in groups.items():
        text = " ".join(content for e in rows for content in (*(c for _, c in e.context), e.reply))
        out = next((term for term in terms if term not in AMBIGUOUS and re.search(rf"\b{term}\b", text)), None)
        if out is None:
            continue
        others = [term for term in terms if term != out and not re.search(rf"\b{re.escape(term)}\b", text)]
        others.sort(key=lambda term: hashlib.sha256(f"{group} {term}".encode()).digest())
        for number, into in enumerate(others[:times], 1):
            found += [_with_term(e, out, into, number) for e in rows]
    return found


def _with_term(example: Example, out: str, into: str, number: int) -> Example:
    context = tuple((role, _swap(content, out, into)) for role, content in example.context)
    return replace(
        example,
        id=f"{example.id}#swap{number}",
        group=f"{example.group}#swap{number}",
        source="own, swapped",
        reply=_swap(example.reply, out, into),
        context=context,
    )


def _swap(text: str, out: str, into: str) -> str:
    # The article is the new term's: "a Muslim nurse", "an Arab nurse".
    article = "an" if into[0].lower() in "aeiou" else "a"
    text = re.sub(rf"\b([Aa])n? {out}\b", lambda found: found[1] + article[1:] + f" {into}", text)
    return re.sub(rf"\b{out}\b", into, text)
