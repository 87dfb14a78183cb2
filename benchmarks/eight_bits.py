"""What eight-bit products change, beside the model's own half precision in the same run: judgements, support and language.

    python benchmarks/eight_bits.py [--datasets DIRECTORY] [--rows 2000] [--out FILE]

Of the safety classifier: AUROC on rows that taught nothing, and what the shipped thresholds miss and drop on the rows that they were
set on. Of the support classifier: AUROC on held-out claims. Of the chat model: perplexity of the sample corpus, and how far the
probabilities of the next token are apart. DIRECTORY holds the public sets (with them about ten minutes on two cores, two without).
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

# As a script it stands in a folder of the package that it is part of.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from rich.console import Console
from safetensors.torch import load_file

from benchmarks import machine
from benchmarks.figures import markdown
from classifiers import DEFAULT_MODEL, OBJECTIVES, Support, engines, models
from classifiers.backbone import LAYERS, Backbone
from classifiers.claim_reading import READ_LAYER, ClaimReader
from classifiers.engine import Engine
from classifiers.grounding import SHIPPED_SUPPORT, UPDATE
from classifiers.grounding_sets import read_grounding_sets, read_own_pairs
from classifiers.guarantee import label_of
from classifiers.labelled import Example, read_labelled, without_leaks
from classifiers.metrics import Estimate, auroc, estimate
from classifiers.policy import load_policy
from classifiers.public_sets import read_public
from classifiers.readout import Scorer
from classifiers.safety import SHIPPED
from data import CORPUS, GROUNDING, LABELLED
from retrieval import read_documents
from service.console import progress

HALF = "bfloat16"
HEADINGS = ("what", "n", "positive", HALF, engines.INT8)
PROMPT = 8
"""Tokens of a passage that are given before the others are guessed."""
PASSAGES = 60

Bar = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
Rows = list[list[str]]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=Path, help="folder of the public sets; without it, our own pairs alone")
    parser.add_argument("--rows", type=int, default=2000, help="of held-out texts and claims at most so many each")
    parser.add_argument("--out", type=Path, help="file for the table")
    options = parser.parse_args(arguments)
    if options.rows < 100:
        parser.error(f"--rows is {options.rows}; fewer than 100 say nothing")
    before = machine.load()
    model, tokenizer = models.load(DEFAULT_MODEL)
    plain = Engine.of(model)
    rounded = engines.load(DEFAULT_MODEL)
    if plain is None or rounded is None or rounded.precision != engines.INT8:
        Console(stderr=True).print("error: this machine has no eight-bit products to compare", style="red")
        return 1
    both = {HALF: plain, engines.INT8: rounded}

    def backbone(name: str, update: Any, layers: tuple[int, ...]) -> Backbone:
        engine = engines.adapted(both[name], model.model, update, max(layers), tokenizer)
        return Backbone(engine, tokenizer, layers, lambda: None, None)

    rows = safety(backbone, options.datasets, options.rows, progress)
    rows += support(backbone, options.datasets, options.rows, progress)
    rows += language(both, tokenizer, progress)
    page = written(rows, machine.described(before))
    Console().print(page, markup=False, highlight=False)
    if options.out:
        options.out.write_text(page, encoding="utf-8")
    return 0


def written(rows: Rows, described: Sequence[tuple[str, str]]) -> str:
    command = "python benchmarks/eight_bits.py " + " ".join(sys.argv[1:])
    return "\n".join(
        [
            "# Eight bits beside half precision\n",
            f"Written by `{command.strip()}`. Both precisions see the same rows; 95% bootstrap intervals.\n",
            markdown(("machine", ""), [list(pair) for pair in described]),
            markdown(HEADINGS, rows),
        ]
    )


def safety(backbone: Callable[..., Backbone], datasets: Path | None, most: int, begin: Bar) -> Rows:
    scorer = Scorer.load(SHIPPED, OBJECTIVES)
    examples = without_leaks(read_labelled(LABELLED) + (read_public(datasets) if datasets else []))
    taught_nothing = chosen([e for e in examples if e.split == "test" and not e.labelled_for], most)
    threshold_rows = [e for e in examples if e.split == "calibration" and not e.labelled_for]
    judged = [*taught_nothing, *threshold_rows]
    scores = {}
    for name in (HALF, engines.INT8):
        reader = backbone(name, scorer.update, LAYERS)
        with begin(f"safety, {name}", len(judged)) as advance:
            features = reader.read_many([(e.context, e.reply, e.role) for e in judged], progress=advance)
        scores[name] = scorer.scores(features)[:, 0]
    n = len(taught_nothing)
    found = [
        row(
            "safety: AUROC on rows that taught nothing",
            auroc,
            taught_nothing,
            {name: each[:n] for name, each in scores.items()},
        )
    ]
    labels = np.array([e.unsafe for e in threshold_rows])
    safe = np.array([label_of(e, None) is False for e in threshold_rows])
    for preset in ("strict", "balanced", "permissive"):
        threshold = next(iter(load_policy(preset).objectives.values())).threshold
        passed = {name: each[n:] < threshold for name, each in scores.items()}
        for what, rows, counted in (
            ("unsafe rows that pass", labels, passed),
            ("safe rows that are dropped", safe, {name: ~each for name, each in passed.items()}),
        ):
            kept = [e for e, wanted in zip(threshold_rows, rows, strict=True) if wanted]
            values = {name: each[rows].astype(float) for name, each in counted.items()}
            found.append(row(f"safety, {preset} ({threshold:g}): {what}", mean, kept, values))
    return found


def support(backbone: Callable[..., Backbone], datasets: Path | None, most: int, begin: Bar) -> Rows:
    shipped = Support.load()
    claims = read_own_pairs(GROUNDING / "pairs") + (read_grounding_sets(datasets) if datasets else [])
    held = chosen([c for c in claims if c.split == "test"], most)
    update = load_file(SHIPPED_SUPPORT / UPDATE)
    found = {}
    for name in (HALF, engines.INT8):
        reader = ClaimReader(backbone(name, update, (READ_LAYER,)))
        own = Support(reader, shipped.head, shipped.combination, shipped.version, shipped.threshold)
        judged = []
        with begin(f"support, {name}", len(held)) as advance:
            for start in range(0, len(held), 100):
                part = held[start : start + 100]
                judged += own.judge([(c.passage, c.before, c.claim) for c in part])
                advance(len(part))
        found[name] = np.array([each.supported for each in judged])
    labels = [bool(c.supported) for c in held]
    groups = [c.group for c in held]
    told = [estimate(auroc, labels, found[name], groups) for name in (HALF, engines.INT8)]
    return [["support: AUROC on held-out claims", *cells(told)]]


def language(both: dict[str, Engine], tokenizer: Any, begin: Bar) -> Rows:
    """Perplexity of passages after their first words, and how far apart the two precisions' next tokens are."""
    documents, _ = read_documents([CORPUS])
    texts = [
        tokenizer(document.text)["input_ids"][:200] for document in documents[:: max(len(documents) // PASSAGES, 1)]
    ]
    texts = [ids for ids in texts if len(ids) > 2 * PROMPT]
    losses: dict[str, list[float]] = {name: [] for name in both}
    apart: list[tuple[float, float, float]] = []
    with begin("language", len(texts)) as advance, torch.inference_mode():
        for ids in texts:
            logs = {}
            for name, engine in both.items():
                prompt, _ = engine.read(ids[:PROMPT])
                logs[name] = engine.follow(prompt, ids[PROMPT:-1]).log_softmax(-1)
                losses[name] += (-logs[name].gather(1, torch.tensor(ids[PROMPT + 1 :]).unsqueeze(1))).flatten().tolist()
            p, q = logs[HALF], logs[engines.INT8]
            kl = (p.exp() * (p - q)).sum(-1)
            variation = 0.5 * (p.exp() - q.exp()).abs().sum(-1)
            same = (p.argmax(-1) == q.argmax(-1)).float()
            apart += list(zip(kl.tolist(), variation.tolist(), same.tolist(), strict=True))
            advance(1)
    kl_mean, variation_mean, same_mean = np.array(apart).mean(axis=0)
    n = f"{len(apart):,}"
    perplexities = [f"{np.exp(np.mean(losses[name])):.2f}" for name in (HALF, engines.INT8)]
    return [
        ["chat model: perplexity of the sample corpus", n, "-", *perplexities],
        ["chat model: KL divergence of the next token from half precision, nats", n, "-", "0", f"{kl_mean:.3f}"],
        ["chat model: total variation of the next token from half precision", n, "-", "0", f"{variation_mean:.3f}"],
        ["chat model: the same likeliest next token", n, "-", "1", f"{same_mean:.3f}"],
    ]


def chosen(rows: list[Any], most: int) -> list[Any]:
    """At most so many, drawn with a seed."""
    if len(rows) <= most:
        return rows
    return [rows[i] for i in sorted(np.random.default_rng(0).choice(len(rows), most, replace=False))]


def row(what: str, measure: Any, examples: Sequence[Example], values: dict[str, Any]) -> list[str]:
    labels, groups = [e.unsafe for e in examples], [e.group for e in examples]
    return [what, *cells([estimate(measure, labels, values[name], groups) for name in (HALF, engines.INT8)])]


def mean(_: Any, values: Any) -> float:
    return float(values.mean())


def cells(found: Sequence[Estimate]) -> list[str]:
    first = found[0]
    share = "-" if first.prevalence in (0.0, 1.0) else f"{first.prevalence:.0%}"
    return [f"{first.n:,}", share, *(f"{each.value:.3f} [{each.low:.3f}, {each.high:.3f}]" for each in found)]


if __name__ == "__main__":
    sys.exit(main())
