"""Training the support classifier as it is shipped: adapt the reader, combine, set the threshold, measure beside word overlap, write.

Knows the recipe. The pieces are in `grounding_sets`, `claim_reading`, `adaptation`, `grounding`.
"""

import hashlib
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression

from classifiers import models
from classifiers.adaptation import Adaptation, adapt, batches_of, head_of
from classifiers.backbone import Backbone
from classifiers.calibration import certify, expected_calibration_error, platt
from classifiers.claim_reading import READ_LAYER, Claimed, ClaimReader
from classifiers.grounding import CONFIG, HEAD, UPDATE, WORD_FEATURES, Combination, Support, word_features
from classifiers.grounding_card import write_grounding_card
from classifiers.grounding_sets import LabelledClaim, made_by_rule, read_grounding_sets, read_own_pairs
from classifiers.metrics import auroc, estimate
from classifiers.supervision import Targets
from classifiers.training import ProgressBar, steps_shown

ALPHA = 0.10
"""The share of unsupported claims that may pass for supported, at the shipped threshold."""
CHUNK = 64


@dataclass(frozen=True)
class GroundingRecipe:
    """`rule_rows`: claims made by rule. `steps`: of the adaptation, at most; our own pairs teach in every epoch, the rest once."""

    rule_rows: int = 2000
    steps: int = 720
    adaptation: Adaptation = field(default_factory=lambda: Adaptation(first_layer=10, epochs=2, objective_weight=0.3))


def train_support(
    datasets: Path,
    pairs: Path,
    output: Path,
    seed: int,
    progress: ProgressBar,
    recipe: GroundingRecipe | None = None,
) -> dict[str, Any]:
    """Train, measure and write weights, metrics and card to `output`. Returns the metrics.

    Raises FileNotFoundError for missing sets, `labelled.BadExample` for a bad line; both before anything is trained.
    """
    recipe = recipe or GroundingRecipe()
    started = time.monotonic()
    claims = read_own_pairs(pairs) + read_grounding_sets(datasets)
    taught = [c for c in claims if c.split == "train"] + made_by_rule(claims, recipe.rule_rows, seed)
    update, state = learn_claims(taught, recipe, seed, models.cache_folder() / "training", progress)
    update = {name: value.half() for name, value in update.items()}
    reader = ClaimReader(Backbone.load(update=update, layers=(READ_LAYER,)))
    head = head_of(reader.backbone.width, 2)
    head.load_state_dict(state)
    bare = Support(reader, head, Combination((1.0,) + (0.0,) * len(WORD_FEATURES), 0.0, (1.0, 0.0)), "")
    held = [c for c in claims if c.split != "train"]
    asked: list[Claimed] = [(c.passage, c.before, c.claim) for c in held]
    with progress("reading held-out claims", len(held)) as advance:
        logits = _read(bare, asked, advance)
    words = np.array([word_features(*each) for each in asked])
    combination = combine(logits, words, held)
    supported = np.array([each.supported for each in combination.judge(logits, words)])
    denied = np.array([each.contradicted for each in combination.judge(logits, words)])
    metrics = measure(held, logits, words, supported, denied)
    facts = [[c.id, c.passage, c.before, c.claim, c.supported, c.contradicted] for c in taught + held]
    version = "1-" + hashlib.sha256(json.dumps([facts, asdict(recipe), seed]).encode()).hexdigest()[:8]
    metrics |= {
        "version": version,
        "recipe": asdict(recipe),
        "seed": seed,
        "combination": asdict(combination),
        "word_features": list(WORD_FEATURES),
        "threshold": threshold_of(held, supported),
        "training_rows": dict(Counter(c.source for c in taught).most_common()),
        "minutes": round((time.monotonic() - started) / 60, 1),
    }
    output.mkdir(parents=True, exist_ok=True)
    save_file(update, output / UPDATE)
    save_file({name: value.contiguous() for name, value in state.items()}, output / HEAD)
    config = {
        "backbone": models.DEFAULT_MODEL,
        "version": version,
        "combination": asdict(combination),
        "threshold": metrics["threshold"]["support"],
    }
    (output / CONFIG).write_text(json.dumps(config, indent=1) + "\n")
    (output / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    write_grounding_card(output / "README.md", metrics)
    models.write_checksums(output)
    return metrics


def learn_claims(
    claims: Sequence[LabelledClaim], recipe: GroundingRecipe, seed: int, folder: Path, progress: ProgressBar
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The update of the reader and its head, from the claims given. Logits: not supported, contradicted."""
    reader = ClaimReader(Backbone.load(layers=(READ_LAYER,)))
    rows = [reader.tokens((c.passage, c.before, c.claim)) for c in claims]
    pairs: dict[str, list[int]] = defaultdict(list)
    for i, claim in enumerate(claims):
        if claim.pair:
            pairs[claim.pair].append(i)
    once = [[i] for i, claim in enumerate(claims) if not claim.pair]
    random = np.random.default_rng(seed)
    batches = list(batches_of([len(ids) for ids, _, _ in rows], list(pairs.values()), once, recipe.adaptation, random))
    with steps_shown(progress) as show:
        return adapt(
            reader.backbone.trunk,
            rows,
            targets_of(claims),
            batches[: recipe.steps],
            recipe.adaptation,
            seed,
            folder,
            show,
        )


def targets_of(claims: Sequence[LabelledClaim]) -> Targets:
    """Column 0: not supported; the other: contradicted, masked where the source does not tell."""
    return Targets(
        unsafe=torch.tensor([float(not c.supported) for c in claims]),
        judged=torch.ones(len(claims)),
        named=torch.tensor([[float(c.contradicted is True)] for c in claims]),
        known=torch.tensor([[float(_told(c))] for c in claims]),
    )


def combine(logits: NDArray[np.float64], words: NDArray[np.float64], claims: Sequence[LabelledClaim]) -> Combination:
    """The regression over the reader's logit and the word features, fitted on the calibration rows, each source with one weight."""
    rows = [i for i, c in enumerate(claims) if c.split == "calibration"]
    count = Counter(_kind(claims[i]) for i in rows)
    columns = np.column_stack([-logits[rows, 0], words[rows]])
    labels = np.array([claims[i].supported for i in rows])
    weights = np.array([1 / count[_kind(claims[i])] for i in rows])
    fitted = LogisticRegression(C=1.0, max_iter=1000).fit(columns, labels, weights * len(rows) / weights.sum())
    told = [i for i in rows if not claims[i].supported and claims[i].contradicted is not None]
    scale = platt(logits[told, 1], [bool(claims[i].contradicted) for i in told])
    return Combination(
        tuple(map(float, fitted.coef_[0])), float(fitted.intercept_[0]), (float(scale[0]), float(scale[1]))
    )


def threshold_of(claims: Sequence[LabelledClaim], supported: NDArray[np.float64]) -> dict[str, Any]:
    """The lowest support that counts: with confidence 95%, at most `ALPHA` of the unsupported claims like those of the validation
    rows reach it (learn then test, see `calibration.py`; here a claim is the worse the less it is supported).
    """
    rows = [i for i, c in enumerate(claims) if c.split == "validation"]
    lacking = [1 - supported[i] for i in rows if not claims[i].supported]
    borne = [1 - supported[i] for i in rows if claims[i].supported]
    found = certify(lacking, borne, ALPHA)
    return {**found.as_dict(), "support": round(1 - found.threshold, 4)}


def measure(
    claims: Sequence[LabelledClaim],
    logits: NDArray[np.float64],
    words: NDArray[np.float64],
    supported: NDArray[np.float64],
    denied: NDArray[np.float64],
) -> dict[str, Any]:
    """AUROC for *supported* on the validation and test rows of every source: this classifier, the reader alone, word overlap."""
    judged = [i for i, c in enumerate(claims) if c.split in ("validation", "test")]
    parts: dict[str, list[int]] = {"own pairs, all": [i for i in judged if claims[i].pair]}
    for i in judged:
        parts.setdefault(claims[i].source, []).append(i)
    figures: Mapping[str, NDArray[np.float64]] = {
        "ours": supported,
        "reader": -logits[:, 0],
        "overlap": words[:, 0],
    }
    table = {}
    for name, rows in parts.items():
        labels = [claims[i].supported for i in rows]
        groups = [claims[i].group for i in rows]
        table[name] = {
            which: estimate(auroc, labels, score[rows], groups).as_dict() for which, score in figures.items()
        }
    told = [i for i in judged if _told(claims[i])]
    test = [i for i in judged if claims[i].split == "test"]
    return {
        "auroc": table,
        "contradicted": estimate(
            auroc, [claims[i].contradicted is True for i in told], denied[told], [claims[i].group for i in told]
        ).as_dict(),
        "calibration_error": expected_calibration_error(
            [claims[i].supported for i in test], [float(supported[i]) for i in test]
        ),
        "pairs_in_order": _pairs_in_order(claims, judged, supported),
    }


def _pairs_in_order(claims: Sequence[LabelledClaim], rows: Sequence[int], supported: NDArray[np.float64]) -> float:
    """The share of our pairs in which the supported claim scores above its twin."""
    pairs: dict[str, dict[bool, float]] = defaultdict(dict)
    for i in rows:
        if claims[i].pair:
            pairs[claims[i].pair][claims[i].supported] = supported[i]
    return float(np.mean([pair[True] > pair[False] for pair in pairs.values() if len(pair) == 2]))


def _read(support: Support, asked: Sequence[Claimed], advance: Callable[[int], None]) -> NDArray[np.float64]:
    logits = np.empty((len(asked), 2))
    order = sorted(range(len(asked)), key=lambda i: (asked[i][0], i))  # claims on one passage stand together
    for start in range(0, len(order), CHUNK):
        part = order[start : start + CHUNK]
        logits[part] = support.logits([asked[i] for i in part])
        advance(len(part))
    return logits


def _told(claim: LabelledClaim) -> bool:
    """Whether it is known that the passage denies the claim or not; a claim that it bears out, it does not deny."""
    return claim.contradicted is not None or claim.supported


def _kind(claim: LabelledClaim) -> str:
    return "own" if claim.pair else claim.source
