"""What a reader is taught about each example, with masks: a source that does not label an objective says nothing about it.

Knows labels and the loss. Does not know what is being taught.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from classifiers.labelled import Example
from classifiers.policy import OBJECTIVES

ASSUMED = 0.3
"""Weight of what a public row does not say and is taken for: that an objective it does not name is respected, that a text which
does not violate the one objective it was labelled for is safe."""


@dataclass(frozen=True)
class Targets:
    """`unsafe` (n) and its weight `judged` (n); `named` (n, objectives) and its weight `known`."""

    unsafe: torch.Tensor
    judged: torch.Tensor
    named: torch.Tensor
    known: torch.Tensor

    @classmethod
    def of(cls, examples: Sequence[Example], weights: Sequence[float] | None = None) -> "Targets":
        """Of an unsafe row every objective counts, of an incomplete one those that it does not name count less. Of a safe row none
        does, `unsafe` speaks for them all; but where it was only labelled for one objective, that one does.
        """
        named = torch.tensor([[float(name in e.objectives) for name in OBJECTIVES] for e in examples])
        known = torch.tensor([[_known(e, name) for name in OBJECTIVES] for e in examples])
        judged = torch.tensor([ASSUMED if e.labelled_for and not e.unsafe else 1.0 for e in examples])
        weight = torch.ones(len(examples)) if weights is None else torch.tensor(weights)
        return cls(
            unsafe=torch.tensor([float(e.unsafe) for e in examples]),
            judged=judged * weight,
            named=named,
            known=known * weight.unsqueeze(1),
        )

    def loss(self, logits: torch.Tensor, rows: torch.Tensor | Sequence[int], objective_weight: float) -> torch.Tensor:
        """Weighted binary cross-entropy of logits (rows, 1 + objectives): column 0 on `unsafe`, the others on `named`."""
        cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits
        unsafe = cross_entropy(logits[:, 0], self.unsafe[rows], self.judged[rows])
        return unsafe + objective_weight * cross_entropy(logits[:, 1:], self.named[rows], self.known[rows])


def _known(example: Example, name: str) -> float:
    if name in example.objectives or name == example.labelled_for:
        return 1.0
    if not example.unsafe or not example.objectives:
        return 0.0
    return 1.0 if example.complete else ASSUMED
