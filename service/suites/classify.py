"""Labelled exchanges: how well the classifier tells unsafe from safe, at every threshold and at the policy's, beside plain words.

Knows which exchanges are judged and which row a measure reads. The measures are in `classifiers/metrics.py`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classifiers import OBJECTIVES
from classifiers.baseline import baseline_by_objective, baseline_scores
from classifiers.calibration import expected_calibration_error
from classifiers.labelled import Example, read_labelled, without_leaks
from classifiers.metrics import Measure, auprc, auroc, f1, precision, recall, recall_at_one_percent
from classifiers.plain_sets import plain_dialog
from classifiers.public_sets import PUBLIC_SETS, read_set
from data import LABELLED
from service.suites.base import Metric, Row
from service.suites.run import Run
from service.suites.scoring import exchange_case, exchange_of, verdicts_of

A_SOURCE, A_SOURCE_QUICK = 250, 12
"""Rows of one public source."""
QUICK = 120
"""Rows of our own or of the user's in a quick run."""


class Classify:
    """Our own test split and what the public sets hold out, or the files that a user named.

    A row: all of `scoring.exchange_case`; `scores` (objective -> probability), `unsafe`, `dropped`, `because`, `flagged` of the
    verdict; `baseline`, the plain baseline's probability of unsafe, and `baseline_scores`, its probability of each objective.
    """

    name = "classify"
    title = "How well does the classifier tell unsafe exchanges from safe ones?"
    batch = 256

    def cases(self, run: Run) -> Sequence[Row]:
        own = read_labelled(LABELLED)
        public = list(_public(run.datasets)) if run.datasets else []
        if run.files:
            judged = run.exchanges
            sampled = run.sample([exchange_case(e) for e in judged], 10**9, QUICK)
        else:
            judged = [e for e in own if e.split == "test"] + [e for e in public if e.split == "validation"]
            sampled = []
            for source in dict.fromkeys(e.source for e in judged):
                of_source = [exchange_case(e) for e in judged if e.source == source]
                ours = of_source[0]["complete"]
                sampled += run.sample(of_source, 10**9 if ours else A_SOURCE, QUICK if ours else A_SOURCE_QUICK)
        return _with_baseline(sampled, own + public, judged)

    def judge(self, cases: Sequence[Row], run: Run) -> Sequence[Row]:
        verdicts = verdicts_of(run, [exchange_of(case) for case in cases])
        return [
            {
                **case,
                "scores": dict(verdict.scores),
                "unsafe": verdict.unsafe,
                "dropped": verdict.dropped,
                "because": list(verdict.because),
                "flagged": list(verdict.flagged),
            }
            for case, verdict in zip(cases, verdicts, strict=True)
        ]

    def metrics(self, rows: Sequence[Row]) -> Sequence[Metric]:
        found = list(_figures("", _OVERALL, lambda row: True))
        sources = sorted({row["source"] for row in rows})
        if len(sources) > 1:
            for source in sources:
                found += _figures(f"source {source}: ", _OVERALL, _from(source))
        for name in sorted({name for row in rows if row["complete"] for name in (*row["scores"], *row["labels"])}):
            found += _figures(f"objective {name}: ", _objective(name), lambda row: row["complete"])
        return found


SUITE = Classify()


@dataclass(frozen=True)
class _Question:
    """What is asked of a row: its label, the score, whether that was enough, and the baseline's score (None: it has none).

    `harmless`: whether dropping the row would be refusing too much.
    """

    label: Callable[[Row], bool]
    score: Callable[[Row], float]
    dropped: Callable[[Row], bool]
    plain: Callable[[Row], float | None]
    harmless: Callable[[Row], bool]


_OVERALL = _Question(
    label=lambda row: row["unsafe_label"],
    score=lambda row: row["unsafe"],
    dropped=lambda row: row["dropped"],
    plain=lambda row: row["baseline"],
    harmless=lambda row: not row["unsafe_label"],
)


def _objective(name: str) -> _Question:
    return _Question(
        label=lambda row: name in row["labels"],
        score=lambda row: row["scores"].get(name, 1.0),  # what could not be judged is taken for the worst
        dropped=lambda row: name in row["because"] or name in row["flagged"],
        plain=lambda row: row["baseline_scores"].get(name),
        harmless=lambda row: not row["unsafe_label"],
    )


def _figures(prefix: str, ask: _Question, rows: Callable[[Row], bool]) -> Iterator[Metric]:
    """The measures of one question, each in front of the baseline's where it has one to offer."""

    def metric(name: str, measure: Measure, unit: str, better: str, dropped: bool, plain: bool = False) -> Metric:
        def of(read: NDArray[np.float64]) -> float:
            kept = read[np.isfinite(read[:, 1])]
            labels, values = kept[:, 0] > 0.5, kept[:, 1]
            if dropped:
                values = as_many(values, int(kept[:, 2].sum())) if plain else kept[:, 2]
            return measure(labels, values) if len(kept) else float("nan")

        def read(row: Row) -> tuple[float | None, ...]:
            return ask.label(row), ask.plain(row) if plain else ask.score(row), ask.dropped(row)

        title = prefix + name + (", TF-IDF" if plain else "")
        beside = prefix + name if plain else ""
        return Metric(title, of, rows, ask.label, _group, unit, better, beside, read=read)

    for name, measure, unit, better, dropped, compared in _MEASURES:
        yield metric(name, measure, unit, better, dropped)
        if compared:
            yield metric(name, measure, unit, better, dropped, plain=True)
    yield Metric(
        f"{prefix}over-refusal",
        lambda read: float(read[:, 0].mean()) if len(read) else None,
        lambda row: rows(row) and ask.harmless(row),
        group=_group,
        better="lower",
        read=lambda row: [ask.dropped(row)],
    )


_MEASURES: tuple[tuple[str, Measure, str, str, bool, bool], ...] = (
    ("AUROC", auroc, "area", "higher", False, True),
    ("AUPRC", auprc, "area", "higher", False, True),
    ("F1", f1, "score", "higher", True, True),
    ("recall", recall, "share", "higher", True, False),
    ("precision", precision, "share", "higher", True, False),
    ("recall at 1% false positives", recall_at_one_percent, "share", "higher", False, True),
    ("calibration error", expected_calibration_error, "score", "lower", False, False),
)
"""Name, measure, unit, better, whether it reads what was dropped, and whether the baseline stands beside it."""


def _from(source: str) -> Callable[[Row], bool]:
    return lambda row: bool(row["source"] == source)


def _group(row: Row) -> str:
    return str(row["group"])


def as_many(scores: NDArray[np.float64], dropped: int) -> NDArray[np.float64]:
    """The baseline has no threshold of its own: it drops as many as the policy does, its highest scores first."""
    gone = np.zeros(len(scores))
    gone[np.argsort(-scores, kind="stable")[:dropped]] = 1.0
    return gone


def _public(folder: Path) -> Iterator[Example]:
    """The public sets that are there, the others passed over; `plain_dialog` is what training left of selfdialogue."""
    for public_set in PUBLIC_SETS:
        if (folder / public_set.name).is_dir():
            yield from read_set(public_set, folder)
    if (folder / "selfdialogue").is_dir():
        yield from plain_dialog(folder)


def _with_baseline(cases: Sequence[Row], known: Sequence[Example], judged: Sequence[Example]) -> list[Row]:
    """The cases with the baseline's scores, learned from the training split less whatever is judged."""
    held_out = [replace(e, split="test") for e in judged]
    train = [e for e in without_leaks([*(e for e in known if e.split == "train"), *held_out]) if e.split == "train"]
    asked = [exchange_of(case) for case in cases]
    unsafe = baseline_scores(train, asked)
    named = baseline_by_objective(train, asked, list(OBJECTIVES))
    return [
        {**case, "baseline": float(p), "baseline_scores": {name: float(found[i]) for name, found in named.items()}}
        for i, (case, p) in enumerate(zip(cases, unsafe, strict=True))
    ]
