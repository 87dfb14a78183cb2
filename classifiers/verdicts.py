"""Verdicts: what scores mean under a policy. Pure arithmetic, fails closed: a score that is missing or not a probability drops.

Knows the policy and scores. Does not know models or text.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from classifiers.policy import Policy

UNSCORED = "unscored"
"""The reason for dropping what could not be judged."""


@dataclass(frozen=True)
class Place:
    """The sentence that decided a score: its text, its characters [start, end) in the reading, and the reading, "raw" or
    "normalised" (what disguised text looks like; the characters then count in the normalised text).
    """

    sentence: str
    start: int
    end: int
    reading: str


class Scores(dict[str, float]):
    """Objective -> probability, with the overall probability of `unsafe`, the place of each, and how far the readers of the
    ensemble disagree about `unsafe` (`doubt`: a standard deviation, in [0, 0.5]).
    """

    def __init__(
        self, scores: Mapping[str, float], unsafe: float, places: Mapping[str, Place], doubt: float | None = None
    ) -> None:
        super().__init__(scores)
        self.unsafe = unsafe
        self.places = dict(places)
        self.doubt = doubt

    def worse(self, other: "Scores") -> "Scores":
        """Each score from whichever of two readings of a text gives the higher; one that is not a number stays."""
        lower = [name for name in self if other[name] > self[name] or math.isnan(other[name])]
        unsafe = math.nan if math.isnan(self.unsafe + other.unsafe) else max(self.unsafe, other.unsafe)
        return Scores(
            {**self, **{name: other[name] for name in lower if not math.isnan(self[name])}},
            unsafe,
            {**self.places, **{name: other.places[name] for name in lower if name in other.places}},
            other.doubt if other.unsafe > self.unsafe else self.doubt,
        )


@dataclass(frozen=True)
class Reason:
    """Why a verdict is what it is: an objective, its score against its threshold, and where. `place` None when it is not known."""

    objective: str
    score: float
    threshold: float
    place: Place | None


@dataclass(frozen=True)
class Verdict:
    """Scores per objective, kept or dropped, and which objectives decided.

    `unsafe` is the overall probability; 1.0 when the text could not be judged. `because` names the `drop` objectives whose
    threshold was reached, highest score first, or `unscored`; `flagged` the `flag` objectives reached. `reasons` explains each
    of them; of a text that reached none, the objective that came nearest. `doubt`: how far the ensemble disagrees, where known.
    """

    scores: Mapping[str, float]
    unsafe: float
    dropped: bool
    because: tuple[str, ...]
    flagged: tuple[str, ...]
    reasons: tuple[Reason, ...] = ()
    doubt: float | None = None


def unscored() -> Verdict:
    """The verdict on a text that could not be judged: dropped."""
    return Verdict(scores={}, unsafe=1.0, dropped=True, because=(UNSCORED,), flagged=())


def judge(scores: object, policy: Policy) -> Verdict:
    """The verdict of one text from its scores, a mapping of objective to probability in [0, 1].

    Anything but a finite probability for every objective of the policy, and overall, is `unscored`; never raises.
    """
    if not isinstance(scores, Mapping) or not all(_is_probability(scores.get(name)) for name in policy.objectives):
        return unscored()
    clean = {name: float(scores[name]) for name in policy.objectives}
    overall = getattr(scores, "unsafe", max(clean.values()))
    if not _is_probability(overall):
        return unscored()
    reached = [name for name, o in policy.objectives.items() if clean[name] >= o.threshold]
    reached.sort(key=lambda name: -clean[name])
    because = tuple(name for name in reached if policy.objectives[name].action == "drop")
    flagged = tuple(name for name in reached if policy.objectives[name].action == "flag")
    nearest = max(policy.objectives, key=lambda name: clean[name] / policy.objectives[name].threshold)
    places = getattr(scores, "places", None) or {}
    reasons = tuple(
        Reason(name, clean[name], policy.objectives[name].threshold, places.get(name)) for name in reached or [nearest]
    )
    doubt = getattr(scores, "doubt", None)
    return Verdict(clean, float(overall), bool(because), because, flagged, reasons, doubt)


def _is_probability(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0.0 <= value <= 1.0  # NaN is in no range
