"""The safety classifier: (context, reply) to one score per objective to a verdict with reasons.

Knows the backbone, the readout and the policy. Does not know where replies come from or where they go.

    from classifiers import Safety
    verdict = Safety.load().judge([{"role": "user", "content": "I feel low."}], ["Talk to a friend?"])[0]
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from classifiers.backbone import Backbone
from classifiers.labelled import Turn
from classifiers.policy import OBJECTIVES, Policy, load_policy
from classifiers.readout import Scorer
from classifiers.verdicts import Verdict, judge
from data import MODELS

SHIPPED = MODELS / "safety"


class SafetyScorer(Protocol):
    """What the filter asks of a classifier: for each reply a mapping of every objective to a probability in [0, 1]."""

    version: str

    def scores(
        self, context: Sequence[Turn], replies: Sequence[str], role: str = "assistant"
    ) -> list[dict[str, float]]:
        """One mapping a reply, in order. May raise; whoever calls it treats that as unscored."""
        ...


class Safety:
    """The shipped classifier under a policy."""

    def __init__(self, backbone: Backbone, scorer: Scorer, policy: Policy) -> None:
        self._backbone = backbone
        self._scorer = scorer
        self.policy = policy
        self.version = scorer.version

    @classmethod
    def load(cls, policy: str | Path | Policy | None = None, folder: Path = SHIPPED) -> "Safety":
        """The classifier with a preset ("strict", "balanced", "permissive"), a policy file or a policy.

        Raises `policy.PolicyError`, `models.DamagedWeights`, `models.ModelNotFound`.
        """
        chosen = policy if isinstance(policy, Policy) else load_policy(policy)
        scorer = Scorer.load(folder, OBJECTIVES)
        return cls(Backbone.load(scorer.backbone), scorer, chosen)

    def scores(
        self, context: Sequence[Turn], replies: Sequence[str], role: str = "assistant"
    ) -> list[dict[str, float]]:
        """For each reply, objective -> probability in [0, 1]. `role` says who speaks: "assistant", or "user" for a prompt.

        A long reply is read in windows and for each objective the worst window decides.
        """
        if not replies:
            return []
        windows = self._backbone.read(context, replies, role)
        scored = self._scorer.scores(np.concatenate(windows))
        found = []
        for group in np.split(scored, np.cumsum([len(w) for w in windows])[:-1]):
            # Each objective by its own worst window, so that none hides behind one that scores higher on another; a NaN stays.
            worst = group.max(axis=0)
            found.append(dict(zip(self._scorer.objectives, map(float, worst), strict=True)))
        return found

    def judge(
        self, context: Sequence[Turn | Mapping[str, str]], replies: Sequence[str], role: str = "assistant"
    ) -> list[Verdict]:
        """A verdict for each reply to the context, oldest turn first; turns are (role, content) or {"role", "content"}."""
        return [judge(scores, self.policy) for scores in self.scores(_turns(context), replies, role)]


def _turns(context: Sequence[Turn | Mapping[str, str]]) -> list[Turn]:
    return [(t["role"], t["content"]) if isinstance(t, Mapping) else t for t in context]
