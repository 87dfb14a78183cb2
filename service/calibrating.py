"""A user's own data: thresholds calibrated on it (`winnow calibrate`), objectives learned from it (`winnow train --objective`).

Knows files, policies and what is printed. The arithmetic is in `classifiers/guarantee.py` and `classifiers/own_objective.py`.
"""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from classifiers import OBJECTIVES, Safety
from classifiers.calibration import ALPHAS
from classifiers.guarantee import guarantees, policy_lines
from classifiers.labelled import read_labelled
from classifiers.own_objective_training import train_objective, write_objective
from service.suites.scoring import scores_of

Report = dict[str, Any]


def calibrate_on(file: Path, delta: float, progress: Callable[[int], None] = lambda _: None) -> tuple[Report, str]:
    """Thresholds on the labelled exchanges of a file or folder, as a table and as the text of a policy file.

    Raises `labelled.BadExample`; ValueError where no exchange is unsafe, or a text cannot be judged.
    """
    if not 0 < delta < 1:
        raise ValueError(f"the confidence must lie between 0 and 1, not {1 - delta:g}")
    examples = read_labelled(file)
    if not any(e.unsafe for e in examples):
        raise ValueError(f"{file} holds no unsafe exchange; there is nothing to calibrate on")
    safety = Safety.load()
    unsafe = np.array([scores.unsafe for scores in scores_of(safety, examples, progress)])
    data = f"{file.name} ({len(examples)} exchanges, {_digest(examples)}), safety {safety.version}"
    table = guarantees(unsafe, examples, OBJECTIVES, data, delta)
    return table, policy_lines(table, OBJECTIVES)


def learn_objective(
    name: str, file: Path, folder: Path, policy: Path, progress: Callable[[int], None] = lambda _: None
) -> Report:
    """Train a user's objective, write its head and card below `folder` and its entry into the policy file. Returns its figures.

    Raises `labelled.BadExample`; ValueError for a name that is not lower-case letters, digits and underscores.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{1,39}", name):
        raise ValueError(f"--objective is {name!r}; a name has 2 to 40 lower-case letters, digits and underscores")
    examples = read_labelled(file, (*OBJECTIVES, name))
    safety = Safety.load()
    head, figures = train_objective(name, examples, safety.backbone, safety.scorer.readout, safety.version, progress)
    write_objective(folder, head, figures, policy)
    return figures


def print_thresholds(table: Report, out: Console) -> None:
    """Each threshold with what it promises."""
    page = Table(title=f"confidence {1 - table['delta']:.0%}; data {escape(table['data'])}")
    for heading in (
        "objective",
        "preset",
        "passes at most",
        "threshold",
        "certified",
        "unsafe rows",
        "missed",
        "needed",
    ):
        page.add_column(heading)
    page.add_column("over-refusal")
    for name in table["balanced"]:
        for preset in ALPHAS:
            row = table[preset][name]
            certified = "yes" if row["certified"] else "[yellow]no[/]"
            cost = "-" if row["over_refusal"] is None else f"{row['over_refusal']:.1%} of {row['safe']}"
            numbers = (row["n"], row["missed"], row["needed"])
            page.add_row(
                name, preset, f"{row['alpha']:.0%}", f"{row['threshold']:g}", certified, *map(str, numbers), cost
            )
    out.print(page)


def _digest(examples: Any) -> str:
    return hashlib.sha256(
        repr([(e.id, e.context, e.reply, sorted(e.objectives)) for e in examples]).encode()
    ).hexdigest()[:12]
