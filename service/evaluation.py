"""The offline evaluation, first version: labelled exchanges in, a table of recall, precision and over-refusal out.

Knows examples and verdicts. The classifier is passed in; the measures are in `classifiers/metrics.py`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from classifiers import OBJECTIVES, Safety, Verdict, judge
from classifiers.labelled import Example
from classifiers.metrics import Measure, auprc, auroc, estimate, over_refusal, precision, recall
from service.suites.scoring import scores_of

Report = dict[str, Any]


def evaluate(safety: Safety, examples: Sequence[Example], progress: Callable[[int], None] = lambda _: None) -> Report:
    """Judge every exchange and measure: overall and per source on `unsafe`, per objective where labels are complete."""
    verdicts = [judge(scores, safety.policy) for scores in scores_of(safety, examples, progress)]
    sources = sorted({e.source for e in examples})
    rows = {"all": _row(examples, verdicts, None)}
    for source in sources:
        chosen = [i for i, e in enumerate(examples) if e.source == source]
        rows[source] = _row([examples[i] for i in chosen], [verdicts[i] for i in chosen], None)
    complete = [i for i, e in enumerate(examples) if e.complete]
    labelled, judged = [examples[i] for i in complete], [verdicts[i] for i in complete]
    return {
        "policy": {"preset": safety.policy.preset, "fingerprint": safety.policy.fingerprint},
        "safety": safety.version,
        "exchanges": len(examples),
        "sources": rows,
        "objectives": {name: _row(labelled, judged, name) for name in OBJECTIVES} if labelled else {},
        "verdicts": [
            {
                "id": e.id,
                "labels": sorted(e.objectives),
                "unsafe_label": e.unsafe,
                "unsafe": v.unsafe,
                "because": v.because,
            }
            for e, v in zip(examples, verdicts, strict=True)
        ],
    }


def _row(examples: Sequence[Example], verdicts: Sequence[Verdict], objective: str | None) -> Report:
    """With an objective: its label, its score, and whether it was among the reasons; else unsafe, overall, dropped."""
    if objective is None:
        labels = [e.unsafe for e in examples]
        scores = [v.unsafe for v in verdicts]
        hits = [float(v.dropped) for v in verdicts]
    else:
        labels = [objective in e.objectives for e in examples]
        scores = [v.scores.get(objective, 1.0) for v in verdicts]
        hits = [float(objective in v.because or objective in v.flagged) for v in verdicts]
    groups = [e.group for e in examples]

    def figure(measure: Measure, values: list[float]) -> dict[str, Any]:
        return estimate(measure, labels, values, groups).as_dict()

    return {
        "n": len(examples),
        "unsafe": int(np.sum(labels)),
        "auroc": figure(auroc, scores),
        "auprc": figure(auprc, scores),
        "recall": figure(recall, hits),
        "precision": figure(precision, hits),
        "over_refusal": figure(over_refusal, hits),
    }


def print_report(report: Report, out: Console) -> None:
    """The report as two tables: by source and by objective. A dash where a figure is not defined."""
    for title, rows in (("source", report["sources"]), ("objective", report["objectives"])):
        if not rows:
            continue
        table = Table(title=f"by {title} (policy {report['policy']['preset']}; 95% intervals)")
        table.add_column(title)
        for heading in ("n", "unsafe", "AUROC", "AUPRC", "recall", "precision", "over-refusal"):
            table.add_column(heading, justify="right")
        for name, row in rows.items():
            figures = (row[key] for key in ("auroc", "auprc", "recall", "precision", "over_refusal"))
            table.add_row(escape(name), str(row["n"]), str(row["unsafe"]), *(_cell(figure) for figure in figures))
        out.print(table)


def _cell(figure: dict[str, Any]) -> str:
    if figure["value"] is None:
        return "-"
    return f"{figure['value']:.3f} [dim]{figure['low']:.2f}–{figure['high']:.2f}[/]"
