"""Training the quality ranker as it is shipped: read states, fit the readout, measure beside length and likelihood, write.

Knows the recipe. The pieces are in `quality_sets`, `quality_rules`, `quality_measures`, `quality`.
"""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from classifiers import models
from classifiers.adaptation import fingerprint
from classifiers.backbone import Backbone, Features
from classifiers.features import Exchange, featurise
from classifiers.labelled import Turn
from classifiers.quality import HEADS, QualityReadout
from classifiers.quality_card import write_quality_card
from classifiers.quality_figures import Scored, exchanges_of, human_figures, own_figures, selection_figures
from classifiers.quality_measures import choices
from classifiers.quality_rules import made_by_rule
from classifiers.quality_sets import RatedReply, human_rated, own_turns, read_conversations, read_rated
from classifiers.readout import Readout
from classifiers.safety import Safety
from classifiers.training import ProgressBar


@dataclass(frozen=True)
class QualityRecipe:
    """What was chosen on validation rows. `own_weight`: of a reply rated by a person in the loss, beside one made by rule; `follows`:
    slope and offset of the first logit, which is surer than it may be of replies that all belong to the context; `selections`:
    contexts of each source among whose next turns is chosen.
    """

    members: int = 4
    hidden: int = 192
    epochs: int = 12
    batch: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    dropout: float = 0.5
    own_weight: float = 16.0
    follows: tuple[float, float] = (0.5, 1.0)
    selections: int = 75


def train_quality(
    datasets: Path,
    labelled: Path,
    rated: Path,
    output: Path,
    seed: int,
    progress: ProgressBar,
    recipe: QualityRecipe | None = None,
    safety: Safety | None = None,
) -> dict[str, Any]:
    """Train on the states of a safety classifier, by default the shipped one, measure, and write weights, metrics and card to `output`.
    Returns the metrics.

    Raises FileNotFoundError for missing sets, `labelled.BadExample` for a bad line; both before anything is read by the model.
    """
    recipe = recipe or QualityRecipe()
    started = time.monotonic()
    own = read_rated(rated)
    turns = read_conversations(datasets, labelled)
    people = human_rated(datasets / "fed") if (datasets / "fed").is_dir() else []
    picks = choices([t for t in turns if t.source in PEOPLE], "test", recipe.selections)
    taught = [r for r in own if r.split == "train"]
    taught += made_by_rule([*own_turns(own), *(t for t in turns if t.split == "train")])
    safety = safety or Safety.load()
    reads = fingerprint(safety.scorer.update or {})

    def read(exchanges: Sequence[Exchange], what: str) -> Features:
        with progress(what, len(exchanges)) as advance:
            name = f"{safety.scorer.backbone}+{reads}"
            return featurise(exchanges, safety.backbone, name, advance, together(safety.backbone))

    states = read(exchanges_of(taught), "reading hidden states")
    with progress("training the readout", recipe.members * recipe.epochs) as advance:
        readout = fit(states, taught, recipe, seed, lambda: advance(1))
    held = [r for r in own if r.split != "train"]
    facts = [[r.id, r.context, r.reply, r.answers, r.weight] for r in taught + held]
    version = "1-" + hashlib.sha256(json.dumps([facts, asdict(recipe), seed, reads]).encode()).hexdigest()[:8]
    ranker = QualityReadout(readout, reads, version)

    ours = Scored(ranker, read, safety.backbone, progress)
    metrics = {
        "version": version,
        "recipe": asdict(recipe),
        "seed": seed,
        **own_figures([r for r in held if r.split == "test"], ours),
        "selection": selection_figures(picks, ours),
        "human": human_figures(people, ours),
        "training_rows": dict(Counter(f"{r.source}, {r.kind}" for r in taught).most_common()),
        "rows": len(taught),
        "minutes": round((time.monotonic() - started) / 60, 1),
    }
    ranker.save(output)
    (output / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    write_quality_card(output / "README.md", metrics)
    models.write_checksums(output)
    return metrics


PEOPLE = ("topicalchat", "selfdialogue")
"""The sources in which the next turn is a person's, and plain: among theirs the true one is looked for."""


def together(backbone: Backbone) -> Callable[[Sequence[Exchange]], Features]:
    """A reader of exchanges that reads each context once, as when candidates are judged."""

    def read(exchanges: Sequence[Exchange]) -> Features:
        rows = np.empty((len(exchanges), backbone.width), np.float16)
        places: dict[tuple[tuple[Turn, ...], str], list[int]] = {}
        for i, (context, _, role) in enumerate(exchanges):
            places.setdefault((tuple(context), role), []).append(i)
        for (context, role), here in places.items():
            windows = backbone.read(context, [exchanges[i][1] for i in here], role)
            rows[here] = [group[0].features for group in windows]
        return rows

    return read


def fit(
    states: Features,
    rows: Sequence[RatedReply],
    recipe: QualityRecipe,
    seed: int,
    done_epoch: Callable[[], None] = lambda: None,
) -> Readout:
    """An ensemble trained with weighted binary cross-entropy on each of `HEADS`, masked where it is not known or was not asked."""
    x = torch.from_numpy(states)
    told = [_told(r) for r in rows]
    target = torch.tensor([[float(bool(answer)) for answer in answers] for answers in told])
    weight = torch.tensor(
        [
            [
                0.0 if answer is None else r.weight * (recipe.own_weight if r.kind == "rated" else 1.0)
                for answer in answers
            ]
            for r, answers in zip(rows, told, strict=True)
        ]
    )
    readout = Readout(states.shape[1], recipe.hidden, len(HEADS), recipe.members, recipe.dropout)
    readout.mean = torch.from_numpy(states.mean(axis=0, dtype=np.float64)).float()
    readout.platt = torch.tensor(recipe.follows)
    readout.scale = 1.0 / (torch.from_numpy(states.astype(np.float32).std(axis=0)) + 1e-3)
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits
    for number, member in enumerate(readout.members):
        torch.manual_seed(seed * 1000 + number)
        for layer in member.modules():
            if isinstance(layer, torch.nn.Linear):
                layer.reset_parameters()
        member.train()
        optimiser = torch.optim.AdamW(member.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
        steps = recipe.epochs * (len(rows) // recipe.batch + 1) + recipe.epochs
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, total_steps=steps)
        for _ in range(recipe.epochs):
            for picked in torch.randperm(len(rows)).split(recipe.batch):
                logits = member(readout.standardise(x[picked].float()))
                loss = cross_entropy(logits, target[picked], weight[picked])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
            done_epoch()
    return readout.eval()


def _told(row: RatedReply) -> tuple[bool | None, ...]:
    """What is known of each of `HEADS`. That a random turn makes no sense here is all said by its not following; whether one made of
    the context's own words follows is not asked.
    """
    if row.kind in ("random", "random too"):
        return (False, None, None, None)
    return (True if row.kind in ("rated", "next") else None, *row.answers)
