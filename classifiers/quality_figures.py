"""What a trained quality ranker comes to: on our own test rows, among next turns, beside people's ratings; with baselines.

Knows which figures are told. How each is computed is in `quality_measures.py` and `metrics.py`.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from classifiers import models
from classifiers.backbone import Backbone, Features
from classifiers.calibration import expected_calibration_error
from classifiers.features import Exchange
from classifiers.labelled import Turn
from classifiers.likelihood import mean_log_likelihoods
from classifiers.metrics import auroc, estimate
from classifiers.quality import ASKED, QualityReadout
from classifiers.quality_measures import AMONG, Choice, by_chance, in_order, mean_figure, spearman_figure, standing
from classifiers.quality_sets import HumanRated, RatedReply
from classifiers.training import ProgressBar

HUMAN = ("Overall", "Interesting", "Specific", "Relevant", "Correct", "Semantically appropriate")
"""The questions of FED that the three answers bear on."""


class Scorer(Protocol):
    """What gives replies their scores."""

    def probabilities(self, exchanges: Sequence[Exchange], what: str) -> NDArray[np.float64]:
        """(n, 3): sensible, specific, interesting."""
        ...

    def likelihoods(self, exchanges: Sequence[Exchange], what: str) -> NDArray[np.float64]:
        """(n,) mean log-likelihoods under the chat model."""
        ...


class Scored:
    """The scores of replies: this ranker's probabilities, and the baselines."""

    def __init__(
        self,
        ranker: QualityReadout,
        read: Callable[[Sequence[Exchange], str], Features],
        backbone: Backbone,
        progress: ProgressBar,
    ) -> None:
        self._ranker, self._read, self._backbone, self._progress = ranker, read, backbone, progress

    def probabilities(self, exchanges: Sequence[Exchange], what: str) -> NDArray[np.float64]:
        """(n, 3)."""
        return self._ranker.probabilities(self._read(exchanges, f"reading {what}"))

    def likelihoods(self, exchanges: Sequence[Exchange], what: str) -> NDArray[np.float64]:
        """(n,) mean log-likelihoods under the chat model."""
        model = models.load(models.DEFAULT_MODEL)[0]
        found = np.empty(len(exchanges))
        places: dict[tuple[Turn, ...], list[int]] = {}
        for i, (context, _, _) in enumerate(exchanges):
            places.setdefault(tuple(context), []).append(i)
        with self._progress(f"likelihoods of {what}", len(exchanges)) as advance:
            for context, here in places.items():
                replies = [exchanges[i][1] for i in here]
                found[here] = mean_log_likelihoods(model, self._backbone, context, replies)
                advance(len(here))
        return found


def rank_scores(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """3 P(sensible) + P(specific) + P(interesting) of each row."""
    found: NDArray[np.float64] = probabilities @ np.array([3.0, 1.0, 1.0])
    return found


def own_figures(test: Sequence[RatedReply], scored: Scorer) -> dict[str, Any]:
    """On our own test rows: AUROC of each answer among all replies, beside length and likelihood; calibration; pairs in order."""
    exchanges = exchanges_of(test)
    probabilities = scored.probabilities(exchanges, "rated replies")
    plain = {
        "likelihood": scored.likelihoods(exchanges, "rated replies"),
        "length": np.array([float(len(r.reply.split())) for r in test]),
    }
    groups = [r.group for r in test]
    table, errors, pairs = {}, {}, {}
    for i, name in enumerate(ASKED):
        labels = [bool(r.answers[i]) for r in test]
        table[name] = {
            which: estimate(auroc, labels, score, groups).as_dict()
            for which, score in {"ours": probabilities[:, i], **plain}.items()
        }
        errors[name] = expected_calibration_error(labels, probabilities[:, i])
    for which, score in {"ours": rank_scores(probabilities), **plain}.items():
        found = in_order(test, list(score))
        pairs[which] = mean_figure([value for _, value in found], [group for group, _ in found])
    return {"auroc": table, "calibration_error": errors, "specific_over_generic": pairs}


def selection_figures(picks: Sequence[Choice], scored: Scorer) -> dict[str, Any]:
    """Hit at 1 and mean reciprocal rank of the true next turn, of each source and of all."""
    exchanges = [(pick.context, reply, "assistant") for pick in picks for reply in pick.replies]
    if not exchanges:
        return {}
    shape = (len(picks), len(picks[0].replies))
    probabilities = scored.probabilities(exchanges, "next turns")
    found = {
        "ours": rank_scores(probabilities).reshape(shape),
        "sensible alone": probabilities[:, 0].reshape(shape),
        "likelihood": scored.likelihoods(exchanges, "next turns").reshape(shape),
        "length": np.array([float(len(reply.split())) for _, reply, _ in exchanges]).reshape(shape),
    }
    table: dict[str, Any] = {"among": AMONG, "chance": by_chance(AMONG)}
    for source in ("all", *sorted({pick.source for pick in picks})):
        rows = [i for i, pick in enumerate(picks) if source in ("all", pick.source)]
        groups = [picks[i].group for i in rows]
        table[source] = {
            which: {
                "hit@1": mean_figure([standing(list(scores[i]))[0] for i in rows], groups),
                "mrr": mean_figure([standing(list(scores[i]))[1] for i in rows], groups),
            }
            for which, scores in found.items()
        }
    return table


def human_figures(people: Sequence[HumanRated], scored: Scorer) -> dict[str, Any]:
    """Spearman's correlation with the mean of the raters' answers to each question of FED; contexts are drawn together."""
    exchanges: list[Exchange] = [(each.context, each.reply, "assistant") for each in people]
    if not exchanges:
        return {}
    probabilities = scored.probabilities(exchanges, "human ratings")
    figures = {
        "ours": rank_scores(probabilities),
        **{name: probabilities[:, i] for i, name in enumerate(ASKED)},
        "likelihood": scored.likelihoods(exchanges, "human ratings"),
        "length": np.array([float(len(each.reply.split())) for each in people]),
    }
    groups = [json.dumps(each.context[:3]) for each in people]
    table: dict[str, Any] = {}
    for question in HUMAN:
        rows = [i for i, each in enumerate(people) if question in each.means]
        if rows:
            means = [people[i].means[question] for i in rows]
            table[question] = {
                which: spearman_figure(means, score[rows], [groups[i] for i in rows])
                for which, score in figures.items()
            }
    return table


def exchanges_of(rows: Sequence[RatedReply]) -> list[Exchange]:
    return [(r.context, r.reply, "assistant") for r in rows]
