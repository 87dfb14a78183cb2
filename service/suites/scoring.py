"""Scores and verdicts of labelled exchanges, those of one context read together; and exchanges as the JSON of a row.

Knows exchanges and their contexts. The classifier is passed in.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

from classifiers import Safety, Scores, Verdict, judge
from classifiers.labelled import Example, Turn
from service.suites.run import Run

TOGETHER = 32
"""Exchanges of one context that are judged in one batch."""


def scores_of(
    safety: Safety, examples: Sequence[Example], progress: Callable[[int], None] = lambda _: None
) -> list[Scores]:
    """Scores of each exchange, in order; those that share a context are judged together, which reads it once."""
    by_context: dict[tuple[tuple[Turn, ...], str], list[int]] = {}
    for i in sorted(range(len(examples)), key=lambda i: len(examples[i].reply)):
        by_context.setdefault((examples[i].context, examples[i].role), []).append(i)
    found: dict[int, Scores] = {}
    for (context, role), rows in by_context.items():
        for start in range(0, len(rows), TOGETHER):
            part = rows[start : start + TOGETHER]
            found |= zip(part, safety.scores(context, [examples[i].reply for i in part], role), strict=True)
            progress(len(part))
    return [found[i] for i in range(len(examples))]


def verdicts_of(run: Run, examples: Sequence[Example]) -> list[Verdict]:
    """The verdict of the run's classifier and policy on each exchange, in order."""
    return [judge(scores, run.corridor.policy) for scores in scores_of(cast(Safety, run.safety), examples)]


def judged_texts(run: Run, context: Sequence[Turn], texts: Sequence[str], role: str = "assistant") -> list[Verdict]:
    """The verdict of the run's classifier and policy on each text in one context, in order."""
    return [judge(scores, run.corridor.policy) for scores in run.safety.scores(context, texts, role)]


def exchange_case(example: Example) -> dict[str, Any]:
    """An exchange as a case: id, source, group, split, role, context, text, labels (sorted), unsafe_label, complete."""
    return {
        "id": example.id,
        "source": example.source,
        "group": example.group,
        "split": example.split,
        "role": example.role,
        "context": [{"role": role, "content": content} for role, content in example.context],
        "text": example.reply,
        "labels": sorted(example.objectives),
        "unsafe_label": example.unsafe,
        "complete": example.complete,
    }


def exchange_of(case: dict[str, Any]) -> Example:
    """The exchange of such a case."""
    return Example(
        id=case["id"],
        context=tuple((turn["role"], turn["content"]) for turn in case["context"]),
        reply=case["text"],
        role=case["role"],
        unsafe=case["unsafe_label"],
        objectives=frozenset(case["labels"]),
        complete=case["complete"],
        group=case["group"],
        source=case["source"],
        split=case["split"],
    )
