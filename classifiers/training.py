"""Training the safety readout as it is shipped: read, featurise, fit, calibrate, measure beside the baseline, write weights and card.

Knows the recipe. The pieces are in their own rooms: `public_sets`, `features`, `readout`, `metrics`, `baseline`, `card`.
"""

import hashlib
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from safetensors.torch import load_file, save_file

from classifiers import models
from classifiers.adaptation import Adaptation, adapt, batches_of, fingerprint
from classifiers.backbone import Backbone, Features
from classifiers.baseline import baseline_scores
from classifiers.calibration import expected_calibration_error, platt
from classifiers.card import write_card
from classifiers.disguise import Words, undisguised
from classifiers.fairness import Swaps
from classifiers.features import featurise
from classifiers.guarantee import guarantees, label_of
from classifiers.labelled import Example, read_labelled, without_leaks
from classifiers.metrics import auroc, estimate
from classifiers.policy import OBJECTIVES
from classifiers.public_sets import read_public
from classifiers.readout import Readout, Scorer
from classifiers.supervision import Targets
from classifiers.swapping import swapped
from data import FAIRNESS

ProgressBar = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True)
class Recipe:
    """What was chosen on held-out rows (the card says which). `own_weight`: of our own rows in the loss; `source_rows`: a public set
    with more training rows than this weighs as if it had this many; `read_rows`: of so many of its training rows the readout is
    fitted, all have taught the update; `objective_weight`: of the objectives' loss, a mean over fifteen columns that are mostly masked.
    """

    members: int = 3
    hidden: int = 128
    epochs: int = 6
    batch: int = 256
    learning_rate: float = 3e-4
    weight_decay: float = 0.05
    dropout: float = 0.5
    own_weight: float = 1.0
    source_rows: int = 10_000
    read_rows: int = 600
    objective_weight: float = 8.0
    adaptation: Adaptation = field(default_factory=Adaptation)


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
    examples += swapped(examples, Swaps.read(FAIRNESS).terms)
    examples = with_plain_readings(examples)
    taught = [e for e in examples if e.split == "train"]
    scratch = models.cache_folder() / "training"
    update = learn_update(taught, recipe, seed, scratch, progress)
    examples = to_read(examples, recipe.read_rows)
    train_rows = [i for i, e in enumerate(examples) if e.split == "train"]
    adapted = time.monotonic()
    backbone = Backbone.load(update=update)
    with progress("reading hidden states", len(examples)) as advance:
        name = f"{models.DEFAULT_MODEL}+{fingerprint(update)}"
        features = featurise([(e.context, e.reply, e.role) for e in examples], backbone, name, advance)
    featurised = time.monotonic()
    with progress("training the readout", recipe.members * recipe.epochs) as advance:
        readout = fit(
            features[train_rows], [examples[i] for i in train_rows], recipe, seed, scratch, lambda: advance(1)
        )
    calibrate(readout, features, examples)
    scorer = Scorer(readout, OBJECTIVES, models.DEFAULT_MODEL, _version(examples, recipe, seed), update)
    with console.status("measuring"):
        # Our own pairs, in which every kind of harm is, and the public sets: pairs alone are harder than what people say.
        rows = calibration_rows(examples)
        unsafe = scorer.scores(features[rows])[:, 0]
        thresholds = guarantees(unsafe, [examples[i] for i in rows], OBJECTIVES, scorer.version)
        thresholds["precision"] = backbone.engine.precision
        metrics = measure(scorer, features, examples, taught)
    metrics |= {
        "recipe": asdict(recipe),
        "seed": seed,
        "version": scorer.version,
        "rows": len(examples),
        "training_rows": dict(Counter(e.source for e in taught).most_common()),
        "readout_rows": len(train_rows),
        "minutes": round((time.monotonic() - started) / 60, 1),
        "adapt_minutes": round((adapted - started) / 60, 1),
        "featurise_minutes": round((featurised - adapted) / 60, 1),
    }
    output.mkdir(parents=True, exist_ok=True)
    (output / "thresholds.json").write_text(json.dumps(thresholds, indent=1) + "\n")
    (output / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    write_card(output / "README.md", metrics, thresholds)
    scorer.save(output)
    return metrics


def calibration_rows(examples: Sequence[Example]) -> list[int]:
    """Those that thresholds are set on."""
    return [i for i, e in enumerate(examples) if e.split == "calibration" and not e.labelled_for]


def to_read(examples: Sequence[Example], most: int) -> list[Example]:
    """All held-out rows, our own, and of each public source at most so many train rows, drawn by hash."""
    rank: dict[str, int] = {}
    seen: Counter[str] = Counter()
    train = [e for e in examples if e.split == "train" and not e.complete]
    for e in sorted(train, key=lambda e: hashlib.sha256(e.id.encode()).digest()):
        rank[e.id] = seen[e.source]
        seen[e.source] += 1
    return [e for e in examples if rank.get(e.id, 0) < most]


def with_plain_readings(examples: Sequence[Example]) -> list[Example]:
    """The examples, and for each one of the train split that holds disguised text a second one of what it looks like: served
    texts are read both ways.
    """
    words = Words.of_vocabulary(models.load_tokenizer(models.DEFAULT_MODEL).get_vocab())
    twins = []
    for e in examples:
        plain = undisguised(e.reply, words)
        if e.split == "train" and plain != e.reply:
            context = tuple((role, undisguised(content, words)) for role, content in e.context)
            twins.append(replace(e, id=f"{e.id}#plain", reply=plain, context=context))
    return [*examples, *twins]


def learn_update(
    examples: Sequence[Example], recipe: Recipe, seed: int, folder: Path, progress: ProgressBar
) -> dict[str, torch.Tensor]:
    """The update of the reader's upper layers (see `adaptation.py`), from the train rows."""
    backbone = Backbone.load()
    rows = [backbone.tokens(e.context, e.reply, e.role) for e in examples]
    batches = list(exchange_batches([len(ids) for ids, _, _ in rows], examples, recipe.adaptation, seed))
    with steps_shown(progress) as show:
        # The head that taught the update is left: the readout reads more layers.
        return adapt(backbone.trunk, rows, Targets.of(examples), batches, recipe.adaptation, seed, folder, show)[0]


@contextmanager
def steps_shown(progress: ProgressBar) -> Iterator[Callable[[int, int], None]]:
    """What `adapt` tells of its steps, as a bar that begins where a resumed run does."""
    with ExitStack() as stack:
        bars: list[Callable[[int], None]] = []

        def show(done: int, total: int) -> None:
            if not bars:
                bars.append(stack.enter_context(progress("adapting the reader", total)))
                bars[0](done)
            else:
                bars[0](1)

        yield show


def exchange_batches(
    lengths: Sequence[int], examples: Sequence[Example], adaptation: Adaptation, seed: int
) -> Iterator[list[int]]:
    """Batches for `adapt`: our own pairs in every epoch, of each public source what the adaptation allows, once."""
    random = np.random.default_rng(seed)
    pairs: dict[str, list[int]] = defaultdict(list)
    public: dict[str, list[int]] = defaultdict(list)
    for i, example in enumerate(examples):
        (pairs[example.group] if example.complete else public[example.source]).append(i)
    once: list[list[int]] = []
    for source in sorted(public):
        in_context = sum(bool(examples[i].context) for i in public[source]) * 2 > len(public[source])
        most = adaptation.context_rows if in_context else adaptation.public_rows
        once += [[int(i)] for i in random.permutation(public[source])[:most]]
    return batches_of(lengths, list(pairs.values()), once, adaptation, random)


def fit(
    features: Features,
    examples: Sequence[Example],
    recipe: Recipe,
    seed: int,
    folder: Path | None = None,
    done_epoch: Callable[[], None] = lambda: None,
) -> Readout:
    """An ensemble trained with weighted binary cross-entropy on `unsafe` and, for unsafe rows, on the objectives that are known.

    With a `folder`, every member is kept there as it is done, and one that was trained from the same rows is taken from it.
    """
    x = torch.from_numpy(features)
    targets = Targets.of(examples, _row_weights(examples, recipe))
    readout = Readout(features.shape[1], recipe.hidden, 1 + len(OBJECTIVES), recipe.members, recipe.dropout)
    readout.mean, spread = _moments(features)
    readout.scale = 1.0 / (spread + 1e-3)
    steps = recipe.epochs * (len(examples) // recipe.batch + 1)
    key = _fit_key(features, examples, recipe, seed) if folder else ""
    for number, member in enumerate(readout.members):
        kept = folder / f"member-{key}-{number}.safetensors" if folder else None
        if kept and kept.is_file():
            member.load_state_dict(load_file(kept))
            for _ in range(recipe.epochs):
                done_epoch()
            continue
        torch.manual_seed(seed * 1000 + number)
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
                loss = targets.loss(logits.float(), picked, recipe.objective_weight)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
            done_epoch()
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            save_file(member.state_dict(), kept.with_suffix(".part"))
            kept.with_suffix(".part").replace(kept)
    return readout.eval()


def _fit_key(features: Features, examples: Sequence[Example], recipe: Recipe, seed: int) -> str:
    facts = [[e.id, e.unsafe, sorted(e.objectives), e.complete, e.labelled_for, e.source] for e in examples]
    digest = hashlib.sha256(json.dumps([facts, asdict(recipe), seed], sort_keys=True).encode())
    digest.update(np.ascontiguousarray(features[:, ::97]).tobytes())
    return digest.hexdigest()[:16]


def _row_weights(examples: Sequence[Example], recipe: Recipe) -> list[float]:
    rows = Counter(e.source for e in examples)
    return [recipe.own_weight if e.complete else min(1.0, recipe.source_rows / rows[e.source]) for e in examples]


def _moments(features: Features) -> tuple[torch.Tensor, torch.Tensor]:
    mean = features.mean(axis=0, dtype=np.float64)
    square = np.zeros_like(mean)
    for part in np.array_split(features, max(len(features) // 4096, 1)):
        square += ((part.astype(np.float64) - mean) ** 2).sum(axis=0)
    return torch.tensor(mean, dtype=torch.float32), torch.tensor(np.sqrt(square / len(features)), dtype=torch.float32)


def calibrate(readout: Readout, features: Features, examples: Sequence[Example]) -> None:
    """Platt scaling of `unsafe` on the validation rows; thresholds are set on others."""
    rows = [i for i, e in enumerate(examples) if e.split == "validation" and label_of(e, None) is not None]
    with torch.inference_mode():
        parts = np.array_split(features[rows], max(len(rows) // 4096, 1))
        logits = torch.cat([readout(torch.from_numpy(part).float())[:, 0] for part in parts])
    readout.platt = torch.tensor(platt(logits.numpy(), [examples[i].unsafe for i in rows]))


def measure(
    scorer: Scorer, features: Features, examples: Sequence[Example], taught: Sequence[Example]
) -> dict[str, Any]:
    """AUROC of the classifier, and of the baseline trained on all that was taught, on every held-out part, with intervals; and
    calibration error.
    """
    held_out = [i for i, e in enumerate(examples) if e.split != "train"]
    judged = [examples[i] for i in held_out]
    ours = np.concatenate([scorer.scores(part) for part in np.array_split(features[held_out], 16)])
    hate = 1 + OBJECTIVES.index("hate")
    # A source that labels one objective is judged by the score of that one.
    score = np.where([e.labelled_for == "hate" for e in judged], ours[:, hate], ours[:, 0])
    plain = baseline_scores(taught, judged)
    own_only = baseline_scores([e for e in taught if e.complete], judged)
    labels = np.array([e.unsafe for e in judged])
    groups = np.array([e.group for e in judged])
    table = {}
    for name, rows in held_out_parts(judged).items():
        y, g = labels[rows], list(groups[rows])
        table[name] = {
            "ours": estimate(auroc, y, score[rows], g).as_dict(),
            "tfidf": estimate(auroc, y, plain[rows], g).as_dict(),
            "tfidf_own": estimate(auroc, y, own_only[rows], g).as_dict(),
        }
    return {"auroc": table, "calibration_error": calibration_errors(ours, judged)}


def calibration_errors(scores: NDArray[np.float32], judged: Sequence[Example]) -> dict[str, float]:
    """Expected calibration error of `unsafe` and of each objective on the calibration rows, which the scaling has not seen."""
    found = {}
    for column, name in enumerate((None, *OBJECTIVES)):
        known = [
            (scores[i, column], label)
            for i, e in enumerate(judged)
            if e.split == "calibration" and (label := label_of(e, name)) is not None
        ]
        if known:
            found[name or "unsafe"] = expected_calibration_error([y for _, y in known], [p for p, _ in known])
    return found


def held_out_parts(judged: Sequence[Example]) -> dict[str, NDArray[np.int64]]:
    """The rows of each held-out part: every public set's that has unsafe rows and safe ones, and our contrast pairs by kind and
    split.
    """
    parts: dict[str, NDArray[np.int64]] = {}
    for source in sorted({e.source for e in judged if not e.complete}):
        chosen = [i for i, e in enumerate(judged) if e.source == source]
        if len({judged[i].unsafe for i in chosen}) == 2:
            parts[f"{source} (held out)"] = np.array(chosen)
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
