"""What ships with Winnow: the policy, the sample corpus, the labelled dialogs and the trained weights.

Knows where these files lie and nothing of what is in them.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent
POLICY = ROOT / "policy.toml"
CORPUS = ROOT / "corpus"
LABELLED = ROOT / "labelled"
GROUNDING = ROOT / "grounding"
POOLS = ROOT / "pools"
PROMPTS = ROOT / "prompts"
QUALITY = ROOT / "quality"
ROBUST = ROOT / "robust"
FAIRNESS = ROOT / "fairness.toml"
MODELS = ROOT / "models"
