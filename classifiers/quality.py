"""The quality ranker: (context, reply) to three probabilities, sensible, specific and interesting, in LaMDA's cascade.

Knows its readout. It reads nothing itself: the states are those that the safety classifier has read already.

    from classifiers import Quality
    Quality.load().judge([{"role": "user", "content": "I feel low."}], ["Talk to a friend?"])[0].rank_score
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from classifiers.adaptation import fingerprint
from classifiers.backbone import Features
from classifiers.labelled import Turn
from classifiers.models import verify_checksums, write_checksums
from classifiers.readout import Readout
from classifiers.safety import Safety
from data import MODELS

SHIPPED_QUALITY = MODELS / "quality"
WEIGHTS, CONFIG = "readout.safetensors", "config.json"

ASKED = ("sensible", "specific", "interesting")
"""What raters are asked of a reply, each only where the answer before was yes (LaMDA: arXiv 2201.08239, section 4.1)."""

HEADS = ("follows", *ASKED)
"""What the readout says, each given the one before; the first, whether the reply answers this context and not another, is LaMDA's
"sensible" in part, and learns from other data than the rest (true next turns against random ones).
"""


@dataclass(frozen=True)
class Rated:
    """Three probabilities in [0, 1], none above the one before: that the reply makes sense here; that it does and would not fit most
    other contexts; that it does both and catches the attention. NaN where it could not be rated.
    """

    sensible: float
    specific: float
    interesting: float

    @property
    def rank_score(self) -> float:
        """What candidates are ranked by, in [0, 5]: 3 P(sensible) + P(specific) + P(interesting), as LaMDA does."""
        return 3 * self.sensible + self.specific + self.interesting


class QualityRater(Protocol):
    """What ranking asks of a rater."""

    version: str

    def judge(self, context: Sequence[Turn], replies: Sequence[str]) -> Sequence[Rated]:
        """One rating a reply, in order. May raise; whoever calls it ranks without it then."""
        ...


class StatesReader(Protocol):
    """Whatever turns replies to a context into hidden states; `classifiers.Safety` does."""

    def states(self, context: Sequence[Turn], replies: Sequence[str]) -> Features:
        """(n, width), in the order of the replies."""
        ...


@dataclass(frozen=True)
class QualityReadout:
    """An ensemble whose logits are those of each of `HEADS` given the one before.

    `reads`: fingerprint of the update of the reader whose states it was trained on.
    """

    readout: Readout
    reads: str
    version: str

    def rate(self, states: Features) -> list[Rated]:
        """(n, width) states to n ratings; NaN where the states are not finite."""
        return [Rated(*map(float, row)) for row in self.probabilities(states)]

    def probabilities(self, states: Features) -> NDArray[np.float64]:
        """(n, 3), in the order of `ASKED`: each probability is that of the one before times its own given that one, so that none is
        above it.
        """
        if not len(states):
            return np.empty((0, len(ASKED)))
        given = 1 / (1 + np.exp(-np.clip(self.logits(states), -60, 60)))
        given[~np.isfinite(states).all(axis=1)] = np.nan
        found: NDArray[np.float64] = np.cumprod(given, axis=1, dtype=np.float64)[:, 1:]
        return found

    def logits(self, states: Features) -> NDArray[np.float64]:
        """(n, 4) in the order of `HEADS`: follows, scaled; sensible given that it follows; specific given sensible; and so on."""
        with torch.inference_mode():
            found: NDArray[np.float64] = self.readout(torch.from_numpy(states).float()).double().numpy()
        slope, offset = self.readout.platt.tolist()
        found[:, 0] = slope * found[:, 0] + offset
        return found

    def save(self, folder: Path) -> None:
        """Write weights (half precision), config and checksums."""
        folder.mkdir(parents=True, exist_ok=True)
        self.readout.write(folder / WEIGHTS)
        config = {
            "version": self.version,
            "reads": self.reads,
            "width": self.readout.width,
            "hidden": self.readout.hidden,
            "members": len(self.readout.members),
        }
        (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n")
        write_checksums(folder)

    @classmethod
    def load(cls, folder: Path) -> "QualityReadout":
        """Read and verify. Raises `models.DamagedWeights` when a file is missing or changed."""
        verify_checksums(folder)
        config = json.loads((folder / CONFIG).read_text())
        readout = Readout(config["width"], config["hidden"], len(HEADS), config["members"])
        readout.take_in(folder / WEIGHTS)
        return cls(readout.eval(), config["reads"], config["version"])


class Quality:
    """The shipped ranker on the states of a reader."""

    def __init__(self, reader: StatesReader, readout: QualityReadout) -> None:
        self.reader, self.readout = reader, readout
        self.version = readout.version

    @classmethod
    def load(cls, safety: Safety | None = None, folder: Path = SHIPPED_QUALITY) -> "Quality":
        """The ranker on the states of this safety classifier, by default the shipped one.

        Raises `models.DamagedWeights`, `models.ModelNotFound`; ValueError where it was trained with another safety classifier.
        """
        readout = QualityReadout.load(folder)
        safety = safety or Safety.load()
        if fingerprint(safety.scorer.update or {}) != readout.reads:
            raise ValueError(
                f"{folder} was trained on the states of another safety classifier; train it again: winnow train --quality"
            )
        return cls(safety, readout)

    def judge(self, context: Sequence[Turn | Mapping[str, str]], replies: Sequence[str]) -> list[Rated]:
        """A rating for each reply to the context, oldest turn first; turns are (role, content) or {"role", "content"}."""
        turns = [(t["role"], t["content"]) if isinstance(t, Mapping) else t for t in context]
        return self.readout.rate(self.reader.states(turns, replies))
