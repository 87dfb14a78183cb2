"""The trained readout: features in, one probability per objective out. A few megabytes of weights beside the frozen backbone.

Knows numbers. Does not know text.

It predicts P(unsafe) and, for each objective k, a weight w_k in (0, 1) of how well k accounts for it. The score of k is
P(unsafe) * w_k / max_j w_j: the objective that accounts best carries the whole probability, the others less. So the highest
score is P(unsafe), and judging fifteen objectives does not multiply the false alarms of one.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from classifiers.adaptation import Update
from classifiers.models import verify_checksums, write_checksums

WEIGHTS = "readout.safetensors"
UPDATE = "update.safetensors"
CONFIG = "config.json"


class Readout(torch.nn.Module):
    """An ensemble of two-layer perceptrons over standardised features; the members' logits are averaged.

    Input (n, width); output logits (n, 1 + objectives): column 0 unsafe, the others the objectives' weights.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    platt: torch.Tensor

    def __init__(self, width: int, hidden: int, outputs: int, members: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.width, self.hidden = width, hidden
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        # Platt scaling of column 0, fitted on validation data: logit -> slope * logit + offset.
        self.register_buffer("platt", torch.tensor([1.0, 0.0]))
        self.members = torch.nn.ModuleList(
            torch.nn.Sequential(
                torch.nn.Dropout(dropout),
                torch.nn.Linear(width, hidden),
                torch.nn.GELU(),
                torch.nn.Dropout(dropout),
                torch.nn.Linear(hidden, outputs),
            )
            for _ in range(members)
        )

    def write(self, path: Path) -> None:
        """Save the weights, in half precision but for what standardises and calibrates."""
        state = {
            name: (value if name in ("mean", "scale", "platt") else value.half()).contiguous()
            for name, value in self.state_dict().items()
        }
        save_file(state, path)

    def take_in(self, path: Path) -> None:
        """Load what `write` saved."""
        self.load_state_dict({name: value.float() for name, value in load_file(path).items()})

    def standardise(self, features: torch.Tensor) -> torch.Tensor:
        return ((features - self.mean) * self.scale).clamp(-8, 8)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        x = self.standardise(features)
        return torch.stack([member(x) for member in self.members]).mean(dim=0)

    def probabilities(self, features: torch.Tensor) -> torch.Tensor:
        """(n, 1 + objectives): unsafe, and each objective's share of it."""
        logits = self(features)
        unsafe = torch.sigmoid(self.platt[0] * logits[:, :1] + self.platt[1])
        weights = torch.sigmoid(logits[:, 1:].clamp(-60, 60))
        # In this order the highest share is exactly one: a threshold is certified on P(unsafe) itself.
        return torch.cat([unsafe, unsafe * (weights / weights.amax(dim=1, keepdim=True))], dim=1)


@dataclass(frozen=True)
class Scorer:
    """A readout with the names of what it scores, and the update that its backbone was trained to be read with (None: as it is)."""

    readout: Readout
    objectives: tuple[str, ...]
    backbone: str
    version: str
    update: Update | None = None

    def scores(self, features: NDArray[np.float16]) -> NDArray[np.float32]:
        """(n, width) features to (n, 1 + objectives) probabilities, unsafe first; NaN where the features are not finite."""
        with torch.inference_mode():
            found: NDArray[np.float32] = self.readout.probabilities(torch.from_numpy(features).float()).numpy()
        # Said outright: an infinite feature is clamped on its way and would be scored.
        found[~np.isfinite(features).all(axis=1)] = np.nan
        return found

    def doubt(self, features: NDArray[np.float16]) -> float:
        """How far the members disagree about one row of features (width,): the standard deviation of their P(unsafe)."""
        with torch.inference_mode():
            x = self.readout.standardise(torch.from_numpy(features).float().unsqueeze(0))
            each = torch.stack([torch.sigmoid(member(x)[0, 0]) for member in self.readout.members])
        return float(each.std(correction=0))

    def save(self, folder: Path) -> None:
        """Write weights (half precision), config and checksums."""
        folder.mkdir(parents=True, exist_ok=True)
        self.readout.write(folder / WEIGHTS)
        (folder / UPDATE).unlink(missing_ok=True)
        if self.update:
            save_file(dict(self.update), folder / UPDATE)
        config = {
            "backbone": self.backbone,
            "version": self.version,
            "objectives": list(self.objectives),
            "width": self.readout.width,
            "hidden": self.readout.hidden,
            "members": len(self.readout.members),
            "updated": bool(self.update),
        }
        (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n")
        write_checksums(folder)

    @classmethod
    def load(cls, folder: Path, objectives: Sequence[str]) -> "Scorer":
        """Read and verify a saved scorer.

        Raises `models.DamagedWeights` when a file is missing or changed, ValueError when it scores other objectives than the
        policy names.
        """
        verify_checksums(folder)
        config = json.loads((folder / CONFIG).read_text())
        if config["objectives"] != list(objectives):
            raise ValueError(f"{folder} scores {config['objectives']}, the policy names {list(objectives)}")
        readout = Readout(config["width"], config["hidden"], 1 + len(config["objectives"]), config["members"])
        readout.take_in(folder / WEIGHTS)
        update = load_file(folder / UPDATE) if config["updated"] else None
        return cls(readout.eval(), tuple(objectives), config["backbone"], config["version"], update)
