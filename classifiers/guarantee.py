"""Thresholds with a guarantee for every objective and preset, from scored and labelled rows; and as lines of a policy.

Knows objectives, labels and presets. The arithmetic is in `calibration.py`; where the scores come from is not known here.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from classifiers.calibration import ALPHAS, DELTA, certify
from classifiers.labelled import Example

Table = dict[str, Any]
"""{"data": version, "delta": d, preset: {objective: `Threshold` as a mapping}}"""


def label_of(example: Example, objective: str | None) -> bool | None:
    """Whether the example violates the objective (None: any); None where its source does not say."""
    if objective is None:
        return None if example.labelled_for and not example.unsafe else example.unsafe
    if objective in example.objectives:
        return True
    if not example.unsafe:
        return False if example.labelled_for in (None, objective) else None
    return False if example.complete else None


def guarantees(
    scores: NDArray[Any], objectives: Sequence[str], examples: Sequence[Example], data: str, delta: float = DELTA
) -> Table:
    """Thresholds for every preset and objective. scores: (n, objectives) probabilities of the n examples.

    Raises ValueError where a score is not a probability.
    """
    table: Table = {"data": data, "delta": delta}
    safe = [i for i, e in enumerate(examples) if not e.unsafe]
    for preset, alpha in ALPHAS.items():
        table[preset] = {}
        for column, name in enumerate(objectives):
            bad = [i for i, e in enumerate(examples) if label_of(e, name)]
            table[preset][name] = certify(scores[bad, column], scores[safe, column], alpha, delta).as_dict()
    return table


def policy_lines(table: Table, objectives: Sequence[str]) -> str:
    """The table as a policy file that lays its thresholds over the shipped ones."""
    lines = [f"# Thresholds from data {table['data']}, confidence {1 - table['delta']:.0%}.", ""]
    for name in objectives:
        lines += [
            *(
                f"# {preset}: at most {row['alpha']:.0%} pass, {'certified' if row['certified'] else 'NOT certified'} on {row['n']} "
                f"unsafe rows ({row['missed']} missed); over-refusal {row['over_refusal'] or 0:.1%} of {row['safe']}"
                for preset in ALPHAS
                for row in (table[preset][name],)
            ),
            f"[objectives.{name}]",
            f"thresholds = {_inline({preset: table[preset][name]['threshold'] for preset in ALPHAS})}",
            "",
        ]
    return "\n".join(lines)


def write_thresholds(policy: Path, table: Table) -> None:
    """Set the thresholds in a policy file that has a `thresholds = {...}` line for each objective; the rest stays as it is.

    Raises KeyError for an objective that the table does not have.
    """
    name = ""
    lines = policy.read_text(encoding="utf-8").split("\n")
    for i, line in enumerate(lines):
        if heading := re.fullmatch(r"\[objectives\.(\w+)\]", line.strip()):
            name = heading.group(1)
        elif name and line.startswith("thresholds = "):
            lines[i] = f"thresholds = {_inline({preset: table[preset][name]['threshold'] for preset in ALPHAS})}"
    policy.write_text("\n".join(lines), encoding="utf-8")


def _inline(values: Mapping[str, float]) -> str:
    return "{ " + ", ".join(f"{key} = {value:g}" for key, value in values.items()) + " }"
