"""The training of the second judge, and the measure of its agreement with people.

One weight vector learns from labels (is this reply unsafe?) and from preferences (which of two is less harmful?, Bradley and Terry,
1952: the difference of two replies' features). Knows the recipe. The sources are in `judge_sets.py`.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack, vstack
from sklearn.linear_model import LogisticRegression

from classifiers.agreement import accuracy, kappa, majority
from classifiers.judge_card import write_judge_card
from classifiers.judge_sets import Labelled, Preferred, read_comments, read_pools, read_preferences, teaches
from classifiers.metrics import Measure, auroc, estimate
from classifiers.models import write_checksums
from classifiers.public_sets import diasafety, safetext
from classifiers.second_judge import SecondJudge, counts, features

ELSEWHERE = {"safetext": safetext, "diasafety": diasafety}
"""Labelled replies of other kinds, not learned from; the weight of the preferences was chosen with an eye on them."""


@dataclass(frozen=True)
class JudgeRecipe:
    """`of_preference`, `of_comment`: weight of one such row beside one of the pools'; `c`: inverse of the penalty; `folds`: of the
    cross-validation whose scores set the scaling and the threshold.
    """

    of_preference: float = 0.03
    of_comment: float = 0.03
    c: float = 3.0
    folds: int = 5


@dataclass(frozen=True)
class _Taught:
    """The rows as features, each kind apart; `folds` of the pools' rows by context."""

    pools: csr_matrix
    unsafe: NDArray[np.bool_]
    folds: NDArray[np.int64]
    comments: csr_matrix
    toxic: NDArray[np.bool_]
    differences: csr_matrix

    def fit(self, rows: NDArray[np.bool_], recipe: JudgeRecipe) -> NDArray[np.float64]:
        """Weights learned from these rows of the pools and from all else; the last is the offset, which a difference has not."""
        signs = np.where(np.arange(self.differences.shape[0]) % 2, 1.0, -1.0)
        parts = [
            (self.pools[rows], self.unsafe[rows], 1.0, 1.0),
            (self.comments, self.toxic, recipe.of_comment, 1.0),
            (self.differences.multiply(signs[:, None]).tocsr(), signs > 0, recipe.of_preference, 0.0),
        ]
        matrix = vstack([_with_offset(x, offset) for x, *_, offset in parts], format="csr")
        labels = np.concatenate([y for _, y, *_ in parts])
        weights = np.concatenate([np.full(x.shape[0], weight) for x, _, weight, _ in parts])
        model = LogisticRegression(C=recipe.c, fit_intercept=False, max_iter=300, tol=1e-3)
        found: NDArray[np.float64] = model.fit(matrix, labels, sample_weight=weights).coef_[0]
        return found


def train_judge(
    datasets: Path,
    pools: Path,
    output: Path,
    recipe: JudgeRecipe | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Train, measure and write weights, metrics and card to `output`. Returns the metrics. `advance` counts fits, folds + 1 of them.

    Raises FileNotFoundError for a missing set, ValueError for pools of which one half lacks safe or unsafe replies.
    """
    recipe = recipe or JudgeRecipe()
    labelled = read_pools(pools)
    preferences = list(read_preferences(datasets / "hh-harmless"))
    comments = list(read_comments(datasets / "context-toxicity"))
    halves = [[row for row in labelled if teaches(row.group) == side] for side in (True, False)]
    for half in halves:
        if len({row.unsafe for row in half}) < 2:
            raise ValueError(f"{pools.name}: each half of the contexts needs safe and unsafe replies")
    judge = _learn(halves[0], comments, preferences, recipe, advance)
    metrics = {
        "version": judge.version,
        "recipe": asdict(recipe),
        "rows": {"pools": len(halves[0]), "preferences": len(preferences), "comments": len(comments)},
        "threshold": judge.threshold,
        "agreement": {"pools, the half that taught nothing": agreement(judge, halves[1])}
        | {name: agreement(judge, _elsewhere(datasets, name)) for name in ELSEWHERE},
    }
    judge.metrics = metrics
    judge.save(output)
    write_judge_card(output / "README.md", metrics)
    write_checksums(output)
    return metrics


def agreement(judge: SecondJudge, rows: Sequence[Labelled]) -> dict[str, Any]:
    """Accuracy, the majority class, kappa and AUROC over labelled replies, each with its interval over contexts."""
    probabilities = np.array(judge.probabilities([row.reply for row in rows]))
    said = (probabilities >= judge.threshold).astype(float)
    labels, groups = [row.unsafe for row in rows], [row.group for row in rows]
    measures: dict[str, tuple[Measure, NDArray[np.float64]]] = {
        "accuracy": (accuracy, said),
        "majority": (majority, said),
        "kappa": (kappa, said),
        "auroc": (auroc, probabilities),
    }
    return {name: estimate(of, labels, values, groups).as_dict() for name, (of, values) in measures.items()}


def _learn(
    pools: Sequence[Labelled],
    comments: Sequence[Labelled],
    preferences: Sequence[Preferred],
    recipe: JudgeRecipe,
    advance: Callable[[int], None],
) -> SecondJudge:
    chosen, rejected = [p.chosen for p in preferences], [p.rejected for p in preferences]
    kinds = ([row.reply for row in pools], [row.reply for row in comments], chosen, rejected)
    idf = _idf([text for kind in kinds for text in kind])
    x = [features(kind, idf.astype(np.float64)) for kind in kinds]
    unsafe = np.array([row.unsafe for row in pools])
    folds = np.array([_fold(row.group, recipe.folds) for row in pools])
    taught = _Taught(x[0], unsafe, folds, x[1], np.array([row.unsafe for row in comments]), x[3] - x[2])
    unseen = np.zeros(len(pools))
    for fold in range(recipe.folds):
        unseen[folds == fold] = x[0][folds == fold] @ taught.fit(folds != fold, recipe)[:-1]
        advance(1)
    weights = taught.fit(np.full(len(pools), True), recipe)[:-1].astype(np.float16)
    advance(1)
    scaling = _platt(unseen, unsafe)
    facts = [repr([*pools, *comments]), repr([*preferences]), asdict(recipe)]
    version = "1-" + hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:8]
    return SecondJudge(idf, weights, scaling, best_threshold(unsafe, _sigmoid(unseen, scaling)), version)


def best_threshold(unsafe: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> float:
    """The probability from which on saying "unsafe" agrees best with the labels, by kappa; of equals the lowest."""
    return float(max(np.unique(probabilities), key=lambda t: kappa(unsafe, (probabilities >= t).astype(float))))


def _idf(texts: Sequence[str]) -> NDArray[np.float16]:
    """ln((1 + n) / (1 + texts that hold it)) + 1 for each feature."""
    holding = np.concatenate([np.asarray(kind.sum(axis=0)).ravel() for kind in counts(texts)])
    return (np.log((1 + len(texts)) / (1 + holding)) + 1).astype(np.float16)


def _fold(group: str, folds: int) -> int:
    return int.from_bytes(hashlib.sha256(f"fold {group}".encode()).digest()[:4], "big") % folds


def _platt(logits: NDArray[np.float64], unsafe: NDArray[np.bool_]) -> tuple[float, float]:
    model = LogisticRegression(C=1e6).fit(logits[:, None], unsafe)
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def _sigmoid(logits: NDArray[np.float64], scaling: tuple[float, float]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = 1 / (1 + np.exp(-(scaling[0] * logits + scaling[1])))
    return found


def _with_offset(x: csr_matrix, offset: float) -> csr_matrix:
    return hstack([x, csr_matrix(np.full((x.shape[0], 1), offset))], format="csr")


def _elsewhere(datasets: Path, name: str) -> list[Labelled]:
    rows = ELSEWHERE[name](datasets / name)
    return [Labelled(row.reply, row.unsafe, row.group) for row in rows if name == "safetext" or row.split != "train"]
