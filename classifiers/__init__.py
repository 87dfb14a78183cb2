"""Text in, calibrated probability out: the safety objectives, the classifier that scores them, and its training."""

from classifiers.models import DEFAULT_MODEL, DamagedWeights, ModelNotFound
from classifiers.policy import OBJECTIVES, Objective, Policy, PolicyError, load_policy
from classifiers.safety import Safety, SafetyScorer
from classifiers.verdicts import Verdict, judge, unscored

__all__ = [
    "DEFAULT_MODEL",
    "OBJECTIVES",
    "DamagedWeights",
    "ModelNotFound",
    "Objective",
    "Policy",
    "PolicyError",
    "Safety",
    "SafetyScorer",
    "Verdict",
    "judge",
    "load_policy",
    "unscored",
]
