"""Thresholds with a guarantee, overall and for every objective, from scored and labelled rows; and as lines of a policy.

Knows objectives, labels and presets. The arithmetic is in `calibration.py`; where the scores come from is not known here.

The highest score of a text is its probability of being unsafe, whichever objective carries it. So all objectives share one
threshold, and a text passes when its probability lies below it. That threshold is certified for unsafe texts of all kinds
together; whether it also holds for one kind alone is tested on the rows of that kind, and said.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classifiers.calibration import ALPHAS, DELTA, certify
from classifiers.labelled import Example

Table = dict[str, Any]
"""{"data": version, "delta": d, preset: {"all" or objective: `Threshold` as a mapping}}"""

ALL = "all"


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
    unsafe: NDArray[Any], examples: Sequence[Example], objectives: Sequence[str], data: str, delta: float = DELTA
) -> Table:
    """Thresholds for every preset. unsafe: (n,) the probability that each of the n examples is unsafe.

    An objective's row has the threshold of all together; it is certified where the unsafe rows of that kind alone certify a
    threshold at least as high. Raises ValueError where a score is not a probability or no row is unsafe.
    """
    if not ((unsafe >= 0) & (unsafe <= 1)).all():  # NaN is in no range
        raise ValueError("a score is not a probability between 0 and 1")
    labels = np.array([e.unsafe for e in examples], dtype=bool)
    safe = np.array([label_of(e, None) is False for e in examples], dtype=bool)
    if not labels.any():
        raise ValueError("no exchange is unsafe; there is nothing to set a threshold on")
    table: Table = {"data": data, "delta": delta}
    together = thresholds_of(unsafe[labels], unsafe[safe], delta)
    for preset, alpha in ALPHAS.items():
        threshold = together[preset]["threshold"]
        table[preset] = {ALL: together[preset]}
        for name in objectives:
            bad = unsafe[[i for i, e in enumerate(examples) if label_of(e, name)]]
            alone = certify(bad, unsafe[safe], alpha, delta)
            table[preset][name] = {
                **together[preset],
                "certified": alone.certified and alone.threshold >= threshold,
                "n": len(bad),
                "missed": int((bad < threshold).sum()),
            }
    return table


def thresholds_of(unsafe: ArrayLike, safe: ArrayLike, delta: float = DELTA) -> dict[str, dict[str, Any]]:
    """The threshold of each preset from the scores of one objective; a stricter preset never has the higher one."""
    found: dict[str, dict[str, Any]] = {}
    cap = 1.0
    for preset, alpha in sorted(ALPHAS.items(), key=lambda item: -item[1]):
        threshold = certify(unsafe, safe, alpha, delta, cap)
        found[preset] = threshold.as_dict()
        cap = threshold.threshold
    return {preset: found[preset] for preset in ALPHAS}


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
        if heading := re.fullmatch(r"\[objectives\.(\w+)\]\s*(?:#.*)?", line.strip()):
            name = heading.group(1)
        elif name and line.startswith("thresholds = "):
            lines[i] = f"thresholds = {_inline({preset: table[preset][name]['threshold'] for preset in ALPHAS})}"
    policy.write_text("\n".join(lines), encoding="utf-8")


def _inline(values: Mapping[str, float]) -> str:
    return "{ " + ", ".join(f"{key} = {value:g}" for key, value in values.items()) + " }"
