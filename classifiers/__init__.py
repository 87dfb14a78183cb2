"""Text in, calibrated probability out: the safety objectives, the classifier that scores them, and its training."""

from classifiers.grounding import Support
from classifiers.models import DEFAULT_MODEL, DamagedWeights, ModelNotFound
from classifiers.policy import OBJECTIVES, Objective, Policy, PolicyError, load_policy
from classifiers.quality import Quality, QualityRater, Rated
from classifiers.safety import Safety, SafetyScorer
from classifiers.verdicts import Place, Reason, Scores, Verdict, judge, unscored

__all__ = [
    "DEFAULT_MODEL",
    "OBJECTIVES",
    "DamagedWeights",
    "ModelNotFound",
    "Objective",
    "Place",
    "Policy",
    "PolicyError",
    "Quality",
    "QualityRater",
    "Rated",
    "Reason",
    "Safety",
    "SafetyScorer",
    "Scores",
    "Support",
    "Verdict",
    "judge",
    "load_policy",
    "unscored",
]
