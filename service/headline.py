"""The rows that people compare with LaMDA's table: Winnow's figures beside those of another model on another test set.

LaMDA's figures: Thoppilan et al. (2022), arXiv 2201.08239, Table 28, as shares. Its safety is human raters' on its own prompts.
"""

from dataclasses import dataclass
from typing import Any

LAMDA: dict[str, dict[str, float | None]] = {
    "sensible": {"PT 2B": 0.766, "LaMDA 2B": 0.818, "LaMDA 137B": 0.923},
    "specific": {"PT 2B": 0.465, "LaMDA 2B": 0.748, "LaMDA 137B": 0.79},
    "interesting": {"PT 2B": 0.108, "LaMDA 2B": 0.234, "LaMDA 137B": 0.257},
    "safe": {"PT 2B": 0.848, "LaMDA 2B": 0.938, "LaMDA 137B": 0.952},
    "grounded": {"PT 2B": 0.45, "LaMDA 2B": 0.53, "LaMDA 137B": 0.732},
    "informative": {"PT 2B": 0.292, "LaMDA 2B": 0.418, "LaMDA 137B": 0.623},
    "citation": {"PT 2B": None, "LaMDA 2B": None, "LaMDA 137B": 0.65},
}
MODELS = ("PT 2B", "LaMDA 2B", "LaMDA 137B")
"""PT 2B: before LaMDA's fine-tuning and filter; the others after."""

CAVEAT = "LaMDA's columns are of its own models on its own test sets, judged by people: another test set, beside ours for the scale."


@dataclass(frozen=True)
class Line:
    """One line: what it says, whose metric it is, which of LaMDA's rows stands beside it, and which of its models.

    `rest`: the metric is the share of the others (attack success, where LaMDA gives the safe share), and one less it is shown.
    """

    name: str
    suite: str
    metric: str
    lamda: str
    models: tuple[str, ...] = MODELS
    rest: bool = False


ATTACKED = "attack success, second judge: "
BEFORE, AFTER = MODELS[:1], MODELS[1:]
LINES = (
    Line(
        "safe before the filter (prompts that invite harm, second judge)",
        "live",
        f"{ATTACKED}before",
        "safe",
        BEFORE,
        True,
    ),
    Line(
        "safe after the filter (prompts that invite harm, second judge)",
        "live",
        f"{ATTACKED}after",
        "safe",
        AFTER,
        True,
    ),
    Line(
        "safe before the filter (labelled candidates, a random one)", "pick", "safe share, random pick", "safe", BEFORE
    ),
    Line(
        "safe after the filter (labelled candidates, Winnow's pick)", "pick", "safe share, Winnow's pick", "safe", AFTER
    ),
    Line("sensible (by the ranker)", "quality", "sensible, sent", "sensible"),
    Line("specific (by the ranker)", "quality", "specific, sent", "specific"),
    Line("interesting (by the ranker)", "quality", "interesting, sent", "interesting"),
    Line("groundedness", "ground", "cite: groundedness", "grounded"),
    Line("informativeness", "ground", "cite: informativeness", "informative"),
    Line("citation accuracy", "ground", "cite: citation accuracy", "citation"),
)


def headline(suites: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines whose figure the results have: {"name", "suite", "metric", "value", "low", "high", "n", "lamda": {model: share}}."""
    found = []
    for line in LINES:
        figures = {figure["name"]: figure for figure in suites.get(line.suite, {}).get("figures", [])}
        if line.metric in figures:
            figure = figures[line.metric]
            beside = {model: LAMDA[line.lamda][model] if model in line.models else None for model in MODELS}
            value, low, high = (figure[key] for key in ("value", "low", "high"))
            if line.rest:
                value, low, high = _rest(value), _rest(high), _rest(low)
            shown = {"value": value, "low": low, "high": high, "n": figure["n"]}
            found.append({"name": line.name, "suite": line.suite, "metric": line.metric, **shown, "lamda": beside})
    return found


def _rest(share: float | None) -> float | None:
    return None if share is None else 1.0 - share
