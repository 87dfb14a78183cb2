"""How a user's own objective is learned: a logistic regression over the reader's features, measured by cross-validation over pairs.

Knows examples, folds and figures, and the policy file's entry. Does not know how a head scores (`own_objective.py`).
"""

import json
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from classifiers.backbone import Backbone
from classifiers.calibration import DELTA, platt
from classifiers.guarantee import thresholds_of
from classifiers.labelled import BadExample, Example
from classifiers.metrics import auroc, estimate
from classifiers.own_objective import Head
from classifiers.policy import OBJECTIVES
from classifiers.readout import Readout

FEWEST = 10
"""Examples of each kind, violating and not, below which nothing is trained."""
FOLDS = 5
REGULARISATION = 0.003
"""scikit-learn's C: 6,912 features against fifty examples."""


def train_objective(
    name: str,
    examples: Sequence[Example],
    backbone: Backbone,
    readout: Readout,
    reader: str,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[Head, dict[str, Any]]:
    """Fit the rule and measure it by cross-validation over pairs. Returns the head and its figures.

    Scores out of fold set the scale and the thresholds, so that neither is read off rows that the weights have seen.
    Raises `labelled.BadExample` for a name that is taken or too few examples of either kind.
    """
    if name in OBJECTIVES:
        raise BadExample(f"objective {name!r} is one of the shipped ones; choose another name")
    labels = np.array([name in e.objectives for e in examples], dtype=bool)
    for kind, count in (("violate it", int(labels.sum())), ("do not", int((~labels).sum()))):
        if count < FEWEST:
            raise BadExample(f"objective {name!r} needs at least {FEWEST} examples that {kind}; there are {count}")
    groups = [e.group for e in examples]
    if len(set(groups)) < FOLDS:
        raise BadExample(f"objective {name!r} needs examples in at least {FOLDS} pairs; there are {len(set(groups))}")
    features = backbone.read_many([(e.context, e.reply, e.role) for e in examples], progress=progress)
    # Standardised as for the shipped readout: fifty rows are too few to take moments from.
    mean, scale = readout.mean.numpy(), readout.scale.numpy()

    def fitted(rows: NDArray[np.int64]) -> Head:
        x = np.clip((features[rows].astype(np.float32) - mean) * scale, -8, 8)
        line = LogisticRegression(C=REGULARISATION, class_weight="balanced", max_iter=2000).fit(x, labels[rows])
        return Head(name, reader, mean, scale, line.coef_[0].astype(np.float32), float(line.intercept_[0]), (1.0, 0.0))

    unseen = np.empty(len(examples))
    for train_rows, test_rows in GroupKFold(FOLDS).split(features, labels, groups):
        if len(set(labels[train_rows])) < 2:
            raise BadExample(f"objective {name!r}: one pair holds almost all examples of a kind; give more pairs")
        unseen[test_rows] = fitted(train_rows).logits(features[test_rows])
    line = platt(unseen, labels)
    probabilities = 1 / (1 + np.exp(-np.clip(line[0] * unseen + line[1], -60, 60)))
    whole = fitted(np.arange(len(examples)))
    head = Head(name, reader, mean, scale, whole.weight, whole.bias, line)
    return head, {
        "name": name,
        "reader": reader,
        "examples": len(examples),
        "violating": int(labels.sum()),
        "auroc": estimate(auroc, labels, probabilities, groups).as_dict(),
        "delta": DELTA,
        "thresholds": thresholds_of(probabilities[labels], probabilities[~labels]),
    }


def write_objective(folder: Path, head: Head, figures: dict[str, Any], policy: Path) -> None:
    """Write the head with its card to `folder`/NAME, and its entry to the policy file, whose other lines stay as they are.

    Raises ValueError where the policy already has an entry of this name that the user may have edited.
    """
    text = policy.read_text(encoding="utf-8") if policy.is_file() else ""
    target = folder / head.name
    try:
        entry = tomllib.loads(text).get("objectives", {}).get(head.name)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{policy} cannot be read as TOML: {error}") from error
    if entry is None:
        text += _entry(head.name, target.resolve(), figures)
    elif entry.get("head") != str(target.resolve()):
        raise ValueError(
            f"{policy} already has an objective {head.name} with another head; remove it or choose another name"
        )
    target.mkdir(parents=True, exist_ok=True)
    (target / "README.md").write_text(_card(figures))
    (target / "metrics.json").write_text(json.dumps(figures, indent=1) + "\n")
    head.save(target)
    policy.write_text(text, encoding="utf-8")


def _entry(name: str, head: Path, figures: dict[str, Any]) -> str:
    values = ", ".join(f"{preset} = {row['threshold']:g}" for preset, row in figures["thresholds"].items())
    title = name.replace("_", " ").capitalize()
    return (
        f'\n[objectives.{name}]\nhead = {json.dumps(str(head))}\ntitle = "{title}"\ndefinition = "{title}."\n'
        f'thresholds = {{ {values} }}\naction = "drop"\nfallback = "I can\'t help with that here."\n'
    )


def _card(figures: dict[str, Any]) -> str:
    value = figures["auroc"]
    low, high, share = value["low"], value["high"], value["prevalence"]
    rows = "\n".join(
        f"| {preset} | {row['alpha']:.0%} | {row['threshold']:g} | {'yes' if row['certified'] else 'no'} | {row['n']} "
        f"| {row['missed']} | {row['needed']} | {row['over_refusal']:.1%} ({row['safe']}) |"
        for preset, row in figures["thresholds"].items()
    )
    return f"""# Objective {figures["name"]}

A logistic regression over the features of Winnow's safety reader, version {figures["reader"]}, from {figures["examples"]} labelled
examples, {figures["violating"]} of which violate it. It reads no other version.

By five-fold cross-validation over pairs: AUROC {value["value"]:.3f} [{low:.3f}, {high:.3f}] (n {value["n"]}, {share:.0%} violating).
Thresholds are set on the scores out of fold, with confidence {1 - figures["delta"]:.0%}; the weights that are kept saw all examples,
so the promise holds for weights trained like them.

| preset | passes | threshold | certified | violating rows | missed | needed | over-refusal (n) |
|---|---|---|---|---|---|---|---|
{rows}
"""
