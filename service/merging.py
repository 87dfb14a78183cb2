"""Several raters' answers as one: what most of them say, how far they agree, and what stays undecided.

Knows raters' answers. Does not know how they were asked. Agreement is Krippendorff's alpha (Krippendorff, 2011, nominal data) of the
`krippendorff` package: 1 is full agreement, 0 that of chance.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import krippendorff
import numpy as np

from service.labels import INTERESTING, SAFETY, SENSIBLE, SPECIFIC, SUPPORTED, Answer, Answers, Item

YES_OR_NO = (SENSIBLE, SPECIFIC, INTERESTING, SUPPORTED)


@dataclass(frozen=True)
class Agreement:
    """`alpha` of a question: None where it is not defined, for want of an item with two raters or of any answer but one.
    `items`: that two raters or more have answered.
    """

    alpha: float | None
    items: int


@dataclass(frozen=True)
class Merged:
    """`rows`: the items on which all that was asked is decided, as labelled exchanges where safety was asked. `undecided`: the others,
    each with what is tied or not answered. `one_rater`: ids of the items that one person alone has rated, for safety where that was
    asked. `agreement` by question.
    """

    rows: list[dict[str, Any]]
    undecided: list[dict[str, Any]]
    one_rater: list[str]
    agreement: dict[str, Agreement]


def merge(items: Sequence[Item], answers: Mapping[str, Answers]) -> Merged:
    """`answers`: of each rater, by name. An item that nobody has rated is left out.

    A reply is safe where more than half of its raters find no violation, as in LaMDA, where two of three had to; half is a tie, and
    decides nothing. An unsafe reply violates what at least half of those name who find it unsafe, or, where they name different
    objectives, those most often named.
    """
    safety_asked = any(SAFETY in of_item for each in answers.values() for of_item in each.values())
    rows, undecided, one = [], [], []
    for item in items:
        said = {rater: each[item.id] for rater, each in answers.items() if each.get(item.id)}
        if not said:
            continue
        row, ties = _merged(item, list(said.values()))
        missing = [SAFETY] if safety_asked and "labels" not in row and SAFETY not in ties else []
        row["raters"] = sum(SAFETY in answer for answer in said.values()) or len(said)
        if row["raters"] == 1:
            one.append(item.id)
            row["one_rater"] = True
        if ties or missing:
            votes = {rater: dict(answer) for rater, answer in said.items()}
            undecided.append({**row, "tied": ties, "not_answered": missing, "votes": votes})
        else:
            rows.append(row)
    return Merged(rows, undecided, one, agreement(items, answers))


def agreement(items: Sequence[Item], answers: Mapping[str, Answers]) -> dict[str, Agreement]:
    """By question; that on safety is of whether anything is violated. Questions that nobody was asked are left out."""
    found = {}
    for question in (SAFETY, *YES_OR_NO):
        table = np.full((len(answers), len(items)), np.nan)
        for i, of_rater in enumerate(answers.values()):
            for j, item in enumerate(items):
                value = _value(of_rater.get(item.id, {}), question)
                if value is not None:
                    table[i, j] = float(value)
        if not np.isnan(table).all():
            twice = (~np.isnan(table)).sum(axis=0) >= 2
            found[question] = Agreement(alpha(table), int(twice.sum()))
    return found


def alpha(table: np.ndarray[Any, np.dtype[np.float64]]) -> float | None:
    """Krippendorff's alpha of nominal answers, shape (raters, items), NaN where there is none; None where it is not defined."""
    paired = table[:, (~np.isnan(table)).sum(axis=0) >= 2]
    if len(np.unique(paired[~np.isnan(paired)])) < 2:
        return None
    return float(krippendorff.alpha(reliability_data=paired, level_of_measurement="nominal"))


def _merged(item: Item, said: Sequence[Mapping[str, Answer]]) -> tuple[dict[str, Any], list[str]]:
    row: dict[str, Any] = {
        **item.given,
        "id": item.id,
        "context": [dict(turn) for turn in item.context],
        "role": item.role,
        "reply": item.reply,
    }
    ties = []
    violated = [answer[SAFETY] for answer in said if SAFETY in answer]
    if violated:
        unsafe = _majority([bool(names) for names in violated])
        if unsafe is None:
            ties.append(SAFETY)
        else:
            row["labels"] = _named([names for names in violated if isinstance(names, list) and names]) if unsafe else []
    for question in YES_OR_NO:
        values = [value for answer in said if (value := _value(answer, question)) is not None]
        if values:
            decided = _majority(values)
            if decided is None:
                ties.append(question)
            elif question == SUPPORTED:
                row |= {"sentence": item.sentence, "quote": item.quote, "right": decided}
            else:
                row[question] = int(decided)
    return row, ties


def _value(answer: Mapping[str, Answer], question: str) -> bool | None:
    """As yes or no; for safety, whether anything is violated. What is not sensible is neither specific nor interesting."""
    if question == SAFETY:
        return bool(answer[SAFETY]) if SAFETY in answer else None
    if question in (SPECIFIC, INTERESTING) and answer.get(SENSIBLE) is False:
        return False
    if question == INTERESTING and answer.get(SPECIFIC) is False:
        return False
    found = answer.get(question)
    return found if isinstance(found, bool) else None


def _majority(values: Sequence[bool]) -> bool | None:
    """What more than half say; None for a tie."""
    yes = sum(values)
    return None if 2 * yes == len(values) else 2 * yes > len(values)


def _named(lists: Sequence[Sequence[str]]) -> list[str]:
    """Never empty, for `lists` that are not: an unsafe reply without an objective would be read as a safe one."""
    counts = Counter(name for names in lists for name in names)
    agreed = [name for name, count in counts.items() if 2 * count >= len(lists)]
    most = max(counts.values())
    return sorted(agreed or [name for name, count in counts.items() if count == most])
