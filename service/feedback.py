"""What people said of replies, as labelled exchanges: the lines that `winnow eval FILE` and `winnow calibrate FILE` read.

Knows labels and records. Does not know the page that asks for them.
"""

from dataclasses import dataclass
from typing import Any

from classifiers import OBJECTIVES
from service.log_file import LogReader


@dataclass(frozen=True)
class Exported:
    """`rows`: one for each exchange that was labelled unsafe. Labels left out: `without_texts`, whose words were not retained, and
    `without_objective`, that say something of quality or sources alone.
    """

    rows: list[dict[str, Any]]
    without_texts: int
    without_objective: int


def exported(log: LogReader) -> Exported:
    """The labels that name a safety objective, with the words they are about. The same exchange labelled twice is one row with all that
    was named. Raises as the reader does.
    """
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    without_texts = without_objective = 0
    for label in log.labels():
        named = set(label.reasons) & set(OBJECTIVES)
        if not named:
            without_objective += 1
            continue
        record = log.find(label.decision, texts=True)
        if not record.has_texts:
            without_texts += 1
            continue
        context, reply = record.conversation(), record.text(record.replies[label.choice].said)
        key = (*((turn["role"], turn["content"]) for turn in context), reply)
        row = rows.setdefault(
            key,
            {
                "id": f"{label.decision}/{label.choice}",
                "pair": label.decision,
                "context": context,
                "role": "assistant",
                "reply": reply,
                "labels": [],
                "source": "feedback",
            },
        )
        row["labels"] = sorted(named | set(row["labels"]))
    return Exported(list(rows.values()), without_texts, without_objective)
