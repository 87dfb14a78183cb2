"""The support classifier: (passage, turn before, claim) to the probabilities that the passage bears it out, and that it denies it.

Knows the reader, its head and what words say on their own. Does not know where passages come from.

    from classifiers import Support
    Support.load().judge([("Nairobi is the capital of Kenya.", "", "Kenya's capital is Nairobi.")])[0].supported
"""

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from classifiers.adaptation import head_of
from classifiers.backbone import Backbone
from classifiers.claim_reading import READ_LAYER, Claimed, ClaimReader, content
from classifiers.models import verify_checksums
from data import MODELS

SHIPPED_SUPPORT = MODELS / "grounding"
UPDATE, HEAD, CONFIG = "update.safetensors", "head.safetensors", "config.json"

_LONGEST_READ = 20_000
"""Characters of a passage that word features look at: more would only take time."""


@dataclass(frozen=True)
class Supported:
    """Calibrated probabilities in [0, 1]: that the passage bears the claim out, and that it denies it. Their sum is at most 1."""

    supported: float
    contradicted: float


@dataclass(frozen=True)
class Combination:
    """A logistic regression over the reader's logit and the word features, and the scaling of the other logit (Platt, 1999)."""

    weights: tuple[float, ...]
    offset: float
    contradicted: tuple[float, float]

    def judge(self, logits: NDArray[np.float64], words: NDArray[np.float64]) -> list[Supported]:
        """logits (n, 2), not supported and contradicted; words (n, features). Not finite in, NaN out."""
        columns = np.column_stack([-logits[:, 0], words])
        supported = _sigmoid(columns @ np.array(self.weights) + self.offset)
        denied = _sigmoid(self.contradicted[0] * logits[:, 1] + self.contradicted[1]) * (1 - supported)
        return [Supported(float(s), float(d)) for s, d in zip(supported, denied, strict=True)]


class Support:
    """The shipped classifier. `threshold`: the support from which on a claim counts as supported."""

    def __init__(
        self,
        reader: ClaimReader,
        head: torch.nn.Module,
        combination: Combination,
        version: str,
        threshold: float = 0.5,
    ) -> None:
        self.reader, self.head, self.combination, self.version = reader, head.eval(), combination, version
        self.threshold = threshold

    @classmethod
    def load(cls, folder: Path = SHIPPED_SUPPORT) -> "Support":
        """Reads and verifies the weights. Raises `models.DamagedWeights`, `models.ModelNotFound`."""
        verify_checksums(folder)
        config = json.loads((folder / CONFIG).read_text())
        backbone = Backbone.load(config["backbone"], load_file(folder / UPDATE), (READ_LAYER,))
        head = head_of(backbone.width, 2)
        head.load_state_dict(load_file(folder / HEAD))
        found = config["combination"]
        combination = Combination(tuple(found["weights"]), found["offset"], tuple(found["contradicted"]))
        return cls(ClaimReader(backbone), head, combination, config["version"], config["threshold"])

    def judge(self, claims: Sequence[Claimed]) -> list[Supported]:
        """One judgement a claim, in order. A claim without a word, or an empty passage, is not supported and not denied."""
        told = [i for i, (passage, _, claim) in enumerate(claims) if content(passage) and content(claim)]
        found = [Supported(0.0, 0.0)] * len(claims)
        if told:
            asked = [claims[i] for i in told]
            words = np.array([word_features(*each) for each in asked])
            for i, judgement in zip(told, self.combination.judge(self.logits(asked), words), strict=True):
                found[i] = judgement
        return found

    def logits(self, claims: Sequence[Claimed]) -> NDArray[np.float64]:
        """What the reader itself says, (n, 2): not supported, contradicted."""
        states = torch.from_numpy(self.reader.read(claims)).float() / 10
        with torch.inference_mode():
            logits: NDArray[np.float64] = self.head(states).double().numpy()
        return logits


WORD_FEATURES = ("overlap", "pairs of words")


def word_features(passage: str, before: str, claim: str) -> list[float]:
    """What words say on their own, each in [0, 1]: the share of the claim's content words that passage or turn before hold, and of its
    pairs of neighbouring words that the passage holds.
    """
    passage = passage[:_LONGEST_READ]
    said = content(claim)
    pairs = _pairs(claim)
    return [
        len(said & (content(passage) | content(before))) / max(len(said), 1),
        len(pairs & _pairs(passage)) / max(len(pairs), 1),
    ]


def _pairs(text: str) -> set[tuple[str, str]]:
    words = re.findall(r"[^\W_]+", text.lower())
    return set(itertools.pairwise(words))


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(x, -60, 60)))
    return found
