"""Training the safety readout as it is shipped: read, featurise, fit, calibrate, measure beside the baseline, write weights and card.

Knows the recipe. The pieces are in their own rooms: `public_sets`, `features`, `readout`, `metrics`, `baseline`, `card`.
"""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from sklearn.linear_model import LogisticRegression

from classifiers import models
from classifiers.backbone import Backbone, Features
from classifiers.baseline import baseline_scores
from classifiers.card import write_card
from classifiers.features import featurise
from classifiers.labelled import Example, read_labelled, without_leaks
from classifiers.metrics import auroc, estimate
from classifiers.policy import OBJECTIVES
from classifiers.public_sets import read_public
from classifiers.readout import Readout, Scorer

ProgressBar = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True)
class Recipe:
    """What was chosen on held-out rows (the card says which). `own_weight`: of our own rows in the loss, so that 28,000 public rows do
    not drown them;
    `source_rows`: a public set with more training rows than this weighs as if it had this many.
    """

    members: int = 3
    hidden: int = 512
    epochs: int = 20
    batch: int = 256
    learning_rate: float = 3e-4
    weight_decay: float = 0.05
    dropout: float = 0.5
    own_weight: float = 8.0
    source_rows: int = 10_000
    objective_weight: float = 0.5
    emphasis: tuple[tuple[str, float], ...] = (("edos", 3.0),)
    emphasised_members: tuple[int, ...] = (1,)
    """In these members some public sets weigh more: "not sexist" is not "safe", so that EDOS is outvoted otherwise."""
    assumed_weight: float = 0.3
    """Of an objective that a public row does not name, taken as not violated."""


def train(
    datasets: Path,
    labelled: Path,
    output: Path,
    seed: int,
    progress: ProgressBar,
    console: Console,
    recipe: Recipe | None = None,
) -> dict[str, Any]:
    """Train, measure and write weights, metrics and card to `output`. Returns the metrics.

    Raises FileNotFoundError for missing sets, `labelled.BadExample` for a bad line; both before anything is trained.
    """
    recipe = recipe or Recipe()
    started = time.monotonic()
    examples = without_leaks(read_labelled(labelled) + read_public(datasets))
    backbone = Backbone.load()
    with progress("reading hidden states", len(examples)) as advance:
        features = featurise(examples, backbone, models.DEFAULT_MODEL, advance)
    featurised = time.monotonic()
    split = np.array([e.split for e in examples])
    rows = np.flatnonzero(split == "train")
    with progress("training the readout", recipe.members * recipe.epochs) as advance:
        readout = fit(features[rows], [examples[i] for i in rows], recipe, seed, lambda: advance(1))
    calibrate(readout, features, examples)
    scorer = Scorer(readout, OBJECTIVES, models.DEFAULT_MODEL, version=_version(examples, recipe, seed))
    with console.status("measuring"):
        metrics = measure(scorer, features, examples)
    metrics |= {
        "recipe": asdict(recipe),
        "seed": seed,
        "version": scorer.version,
        "rows": len(examples),
        "training_rows": dict(Counter(examples[i].source for i in rows).most_common()),
        "minutes": round((time.monotonic() - started) / 60, 1),
        "featurise_minutes": round((featurised - started) / 60, 1),
    }
    output.mkdir(parents=True, exist_ok=True)
    (output / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    write_card(output / "README.md", metrics)
    scorer.save(output)
    return metrics


def fit(
    features: Features,
    examples: Sequence[Example],
    recipe: Recipe,
    seed: int,
    done_epoch: Callable[[], None] = lambda: None,
) -> Readout:
    """An ensemble trained with weighted binary cross-entropy on `unsafe` and, for unsafe rows, on the objectives that are known."""
    x = torch.from_numpy(features)
    unsafe = torch.tensor([float(e.unsafe) for e in examples])
    named = torch.tensor([[float(name in e.objectives) for name in OBJECTIVES] for e in examples])
    known = torch.tensor(
        [(1.0 if e.complete else recipe.assumed_weight) if e.objectives else 0.0 for e in examples]
    ).unsqueeze(1) * torch.ones(len(OBJECTIVES))
    known = torch.where(named > 0, torch.ones_like(known), known)  # what is named is certain

    readout = Readout(features.shape[1], recipe.hidden, 1 + len(OBJECTIVES), recipe.members, recipe.dropout)
    readout.mean, spread = _moments(features)
    readout.scale = 1.0 / (spread + 1e-3)
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits
    steps = recipe.epochs * (len(examples) // recipe.batch + 1)
    for number, member in enumerate(readout.members):
        torch.manual_seed(seed * 1000 + number)
        weight = torch.tensor(_row_weights(examples, recipe, number in recipe.emphasised_members))
        for layer in member.modules():
            if isinstance(layer, torch.nn.Linear):
                layer.reset_parameters()
        member.train()
        optimiser = torch.optim.AdamW(member.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, recipe.learning_rate, total_steps=steps + recipe.epochs
        )
        for _ in range(recipe.epochs):
            for picked in torch.randperm(len(examples)).split(recipe.batch):
                with torch.autocast("cpu", torch.bfloat16):  # twice as fast where the processor has it
                    logits = member(readout.standardise(x[picked].float()))
                logits = logits.float()
                loss_unsafe = cross_entropy(logits[:, 0], unsafe[picked], weight[picked])
                loss_named = cross_entropy(logits[:, 1:], named[picked], known[picked] * weight[picked].unsqueeze(1))
                optimiser.zero_grad()
                (loss_unsafe + recipe.objective_weight * loss_named).backward()
                optimiser.step()
                schedule.step()
            done_epoch()
    return readout.eval()


def _row_weights(examples: Sequence[Example], recipe: Recipe, emphasised: bool) -> list[float]:
    rows = Counter(e.source for e in examples)
    emphasis = dict(recipe.emphasis) if emphasised else {}
    return [
        recipe.own_weight if e.complete else min(1.0, recipe.source_rows / rows[e.source]) * emphasis.get(e.source, 1.0)
        for e in examples
    ]


def _moments(features: Features) -> tuple[torch.Tensor, torch.Tensor]:
    mean = features.mean(axis=0, dtype=np.float64)
    square = np.zeros_like(mean)
    for part in np.array_split(features, max(len(features) // 4096, 1)):
        square += ((part.astype(np.float64) - mean) ** 2).sum(axis=0)
    return torch.tensor(mean, dtype=torch.float32), torch.tensor(np.sqrt(square / len(features)), dtype=torch.float32)


def logits_of(readout: Readout, features: Features) -> NDArray[np.float64]:
    """The uncalibrated or calibrated logit of `unsafe` for each row, as the readout stands."""
    with torch.inference_mode():
        parts = [
            readout(torch.from_numpy(part).float())[:, 0]
            for part in np.array_split(features, max(len(features) // 4096, 1))
        ]
    return torch.cat(parts).double().numpy()


def calibrate(readout: Readout, features: Features, examples: Sequence[Example]) -> None:
    """Platt scaling (Platt, 1999) on the validation rows, every source with the same total weight."""
    rows = [i for i, e in enumerate(examples) if e.split == "validation"]
    count = Counter(examples[i].source for i in rows)
    weight = [1.0 / count[examples[i].source] for i in rows]
    logits = logits_of(readout, features[rows])
    line = LogisticRegression(C=1e6).fit(
        logits[:, None], [examples[i].unsafe for i in rows], np.array(weight) * len(rows)
    )
    readout.platt = torch.tensor([float(line.coef_[0, 0]), float(line.intercept_[0])])


def measure(scorer: Scorer, features: Features, examples: Sequence[Example]) -> dict[str, Any]:
    """AUROC of the classifier and of the baseline on every held-out part, with intervals, and over-refusal by threshold."""
    train_rows = [e for e in examples if e.split == "train"]
    held_out = [i for i, e in enumerate(examples) if e.split != "train"]
    judged = [examples[i] for i in held_out]
    ours = logits_of(scorer.readout, features[held_out])
    plain = baseline_scores(train_rows, judged)
    own_only = baseline_scores([e for e in train_rows if e.complete], judged)
    labels = np.array([e.unsafe for e in judged])
    groups = np.array([e.group for e in judged])
    table = {}
    for name, rows in held_out_parts(judged).items():
        y, g = labels[rows], list(groups[rows])
        table[name] = {
            "ours": estimate(auroc, y, ours[rows], g).as_dict(),
            "tfidf": estimate(auroc, y, plain[rows], g).as_dict(),
            "tfidf_own": estimate(auroc, y, own_only[rows], g).as_dict(),
        }
    unsafe = 1 / (1 + np.exp(-ours))
    thresholds = {}
    validation = np.array([e.split == "validation" for e in judged])
    for threshold in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
        hit = unsafe >= threshold
        safe, bad = validation & ~labels, validation & labels
        thresholds[str(threshold)] = {"recall": float(hit[bad].mean()), "over_refusal": float(hit[safe].mean())}
    return {"auroc": table, "thresholds_on_validation": thresholds}


def held_out_parts(judged: Sequence[Example]) -> dict[str, NDArray[np.int64]]:
    """The rows of each held-out part: every public set's validation, and our contrast pairs by kind and split."""
    parts: dict[str, NDArray[np.int64]] = {}
    for source in sorted({e.source for e in judged if not e.complete}):
        parts[f"{source} (validation)"] = np.array([i for i, e in enumerate(judged) if e.source == source])
    for name, wanted in CONTRAST_PARTS.items():
        for split in ("validation", "test"):
            chosen = [i for i, e in enumerate(judged) if e.complete and e.split == split and wanted(e)]
            parts[f"{name} ({split})"] = np.array(chosen, dtype=np.int64)
    return parts


CONTRAST_PARTS: dict[str, Callable[[Example], bool]] = {
    "contrast pairs, all": lambda e: True,
    "contrast pairs, prompts": lambda e: e.role == "user",
    "contrast pairs, seed prompts": lambda e: e.group.startswith("seed-"),
    "contrast pairs, replies": lambda e: e.role == "assistant" and bool(e.context),
}


def _version(examples: Sequence[Example], recipe: Recipe, seed: int) -> str:
    facts = [[e.id, e.reply, e.context, e.unsafe, sorted(e.objectives)] for e in examples] + [asdict(recipe), seed]
    return "1-" + hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
