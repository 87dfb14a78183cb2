"""A user's own objective: a rule learned from about fifty labelled examples, beside the shipped ones, which stay as they are.

Knows one rule's head over the reader's features and the folder it is kept in. The reader and the other objectives are not
touched: a head is a logistic regression on the same features. How it is learned: `own_objective_training.py`.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from classifiers.backbone import Features
from classifiers.models import verify_checksums, write_checksums

WEIGHTS = "head.safetensors"
CONFIG = "config.json"


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
        logits = self.logits(features)
        found = (1 / (1 + np.exp(-np.clip(self.platt[0] * logits + self.platt[1], -60, 60)))).astype(np.float32)
        found[~np.isfinite(features).all(axis=1)] = np.nan
        return found

    def logits(self, features: Features) -> NDArray[np.float32]:
        """(n, width) features to n logits, before scaling."""
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
