"""A user's own objective: a rule learned from about fifty labelled examples, beside the shipped ones, which stay as they are.

Knows one rule, its head over the reader's features and the folder it is kept in. The reader and the other objectives are not
touched: a head is a logistic regression on the same features.
"""

import json
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from classifiers.backbone import Backbone, Features
from classifiers.calibration import DELTA, platt
from classifiers.guarantee import thresholds_of
from classifiers.labelled import BadExample, Example
from classifiers.metrics import auroc, estimate
from classifiers.models import verify_checksums, write_checksums
from classifiers.policy import OBJECTIVES
from classifiers.readout import Readout

WEIGHTS = "head.safetensors"
CONFIG = "config.json"
FEWEST = 10
"""Examples of each kind, violating and not, below which nothing is trained."""
FOLDS = 5
REGULARISATION = 0.003
"""scikit-learn's C: 6,912 features against fifty examples."""


@dataclass(frozen=True)
class Head:
    """A trained rule. `reader`: the version of the safety weights whose features it reads."""

    name: str
    reader: str
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    weight: NDArray[np.float32]
    bias: float
    platt: tuple[float, float]

    def scores(self, features: Features) -> NDArray[np.float32]:
        """(n, width) features to n probabilities; NaN where the features are not finite."""
        logits = self._logits(features)
        found = (1 / (1 + np.exp(-np.clip(self.platt[0] * logits + self.platt[1], -60, 60)))).astype(np.float32)
        found[~np.isfinite(features).all(axis=1)] = np.nan
        return found

    def _logits(self, features: Features) -> NDArray[np.float32]:
        x = np.clip((features.astype(np.float32) - self.mean) * self.scale, -8, 8)
        logits: NDArray[np.float32] = x @ self.weight + self.bias
        return logits

    def save(self, folder: Path) -> None:
        """Write weights, config and checksums."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {"mean": self.mean, "scale": self.scale, "weight": self.weight}
        save_file({name: torch.from_numpy(value).contiguous() for name, value in arrays.items()}, folder / WEIGHTS)
        config = {"name": self.name, "reader": self.reader, "bias": self.bias, "platt": list(self.platt)}
        (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n")
        write_checksums(folder)

    @classmethod
    def load(cls, folder: Path, name: str, reader: str) -> "Head":
        """Read and verify a head. Raises `models.DamagedWeights`; ValueError when it is another rule's or reads another version."""
        verify_checksums(folder)
        config = json.loads((folder / CONFIG).read_text())
        if config["name"] != name:
            raise ValueError(f"{folder} holds the objective {config['name']!r}, the policy names it {name!r}")
        if config["reader"] != reader:
            raise ValueError(
                f"objective {name!r} was trained for safety weights {config['reader']}, these are {reader}; train it again"
            )
        # Copies: what happens to the file must not change the scores of a running server.
        arrays = {key: value.numpy().copy() for key, value in load_file(folder / WEIGHTS).items()}
        return cls(name, reader, bias=float(config["bias"]), platt=tuple(config["platt"]), **arrays)


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
        unseen[test_rows] = fitted(train_rows)._logits(features[test_rows])
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
