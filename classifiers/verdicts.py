"""Verdicts: what scores mean under a policy. Pure arithmetic, fails closed: a score that is missing or not a probability drops.

Knows the policy and scores. Does not know models or text.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from classifiers.policy import OBJECTIVES, Policy

UNSCORED = "unscored"
"""The reason for dropping what could not be judged."""


@dataclass(frozen=True)
class Verdict:
    """Scores per objective, kept or dropped, and which objectives decided.

    `unsafe` is the overall probability, the highest score; 1.0 when the text could not be judged. `because` names the `drop`
    objectives whose threshold was reached, highest score first, or `unscored`; `flagged` the `flag` objectives reached.
    """

    scores: Mapping[str, float]
    unsafe: float
    dropped: bool
    because: tuple[str, ...]
    flagged: tuple[str, ...]


def unscored() -> Verdict:
    """The verdict on a text that could not be judged: dropped."""
    return Verdict(scores={}, unsafe=1.0, dropped=True, because=(UNSCORED,), flagged=())


def judge(scores: object, policy: Policy) -> Verdict:
    """The verdict of one text from its scores, a mapping of objective to probability in [0, 1].

    Anything but a finite probability for every objective of the policy is `unscored`; never raises.
    """
    if not isinstance(scores, Mapping) or not all(_is_probability(scores.get(name)) for name in OBJECTIVES):
        return unscored()
    clean = {name: float(scores[name]) for name in OBJECTIVES}
    reached = [name for name, o in policy.objectives.items() if clean[name] >= o.threshold]
    reached.sort(key=lambda name: -clean[name])
    because = tuple(name for name in reached if policy.objectives[name].action == "drop")
    flagged = tuple(name for name in reached if policy.objectives[name].action == "flag")
    return Verdict(scores=clean, unsafe=max(clean.values()), dropped=bool(because), because=because, flagged=flagged)


def _is_probability(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0.0 <= value <= 1.0  # NaN is in no range
