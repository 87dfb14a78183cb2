"""Low-rank adaptation of the reader (LoRA: Hu et al., 2021): small updates of the upper layers' weights, learned on labelled texts.

Knows how an update is learned and how it is laid into a trunk. Does not know what is taught, thresholds or calibration.

The layers below the first adapted one stay the generator's own, so that the reader shares their weights, and training reads
them once.
"""

import copy
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from classifiers.supervision import Targets

Update = Mapping[str, torch.Tensor]
"""For each adapted matrix "LAYER.BLOCK.NAME" two factors: ".down" (rank, inputs) and ".up" (outputs, rank)."""

BLOCKS = {
    "self_attn": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "mlp": ("gate_proj", "up_proj", "down_proj"),
}
SCALE = 2.0


@dataclass(frozen=True)
class Adaptation:
    """How the update is learned. Our own pairs are seen every epoch; of each public source of exchanges at most `public_rows` once, or
    `context_rows` where its texts have a context: what a reply means in its context is what most has to be learned.
    """

    first_layer: int = 12
    rank: int = 16
    epochs: int = 2
    batch: int = 16
    learning_rate: float = 5e-4
    head_rate: float = 1e-3
    public_rows: int = 2000
    context_rows: int = 7000
    objective_weight: float = 0.5


class _LowRank(torch.nn.Module):
    def __init__(self, linear: torch.nn.Linear, rank: int) -> None:
        super().__init__()
        self.linear = linear
        self.down = torch.nn.Parameter(torch.randn(rank, linear.in_features) / math.sqrt(linear.in_features))
        self.up = torch.nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.linear(x)
        return y + SCALE * ((x @ self.down.T.to(x.dtype)) @ self.up.T.to(x.dtype))


def fingerprint(update: Update) -> str:
    """Sixteen hex digits that tell one update from another."""
    digest = hashlib.sha256()
    for name in sorted(update):
        digest.update(name.encode() + update[name].numpy().tobytes())
    return digest.hexdigest()[:16]


def first_layers(trunk: Any, count: int, update: Update | None = None) -> torch.nn.ModuleList:
    """The first layers of a trunk of transformers, sharing its weights, with an update laid in; the trunk stays as it is."""
    layers = torch.nn.ModuleList(list(trunk.layers)[:count])
    if update:
        lay_in(layers, update)
    return layers


def lay_in(layers: torch.nn.ModuleList, update: Update, first: int = 0) -> None:
    """Replace the adapted layers of the list by ones that carry the update; the originals, which others share, stay as they are.

    `first` is the number that the list's first layer has in the update. Raises KeyError for a matrix that is not there.
    """
    for name in {key.rsplit(".", 1)[0] for key in update}:
        number, block, matrix = name.split(".")
        at = int(number) - first
        if not 0 <= at < len(layers):
            raise KeyError(f"the update has layer {number}, the trunk {first} to {first + len(layers) - 1}")
        down, up = update[f"{name}.down"], update[f"{name}.up"]

        def merged(old: torch.nn.Linear, down: torch.Tensor = down, up: torch.Tensor = up) -> torch.nn.Module:
            new = copy.copy(old)
            new._parameters = dict(old._parameters)
            weight = old.weight.float() + SCALE * (up.float() @ down.float())
            new.weight = torch.nn.Parameter(weight.to(old.weight.dtype), requires_grad=False)
            return new

        layers[at] = _with(layers[at], block, matrix, merged)


def _with(layer: Any, block: str, matrix: str, make: Callable[[Any], torch.nn.Module]) -> Any:
    twin = copy.copy(layer)
    twin._modules = dict(layer._modules)
    part = copy.copy(twin._modules[block])
    part._modules = dict(part._modules)
    part._modules[matrix] = make(part._modules[matrix])
    twin._modules[block] = part
    return twin


def adapt(
    trunk: Any,
    rows: Sequence[tuple[list[int], int, int]],
    targets: Targets,
    batches: Sequence[list[int]],
    adaptation: Adaptation,
    seed: int,
    folder: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Learn an update of the trunk's layers from `first_layer` on: the update, and the state of the `head` that taught it.

    trunk: the reader's, its layers up to the highest one read. rows: for each example its tokens and the span (start, end) of the
    judged ones. batches: the rows of each step. Writes a checkpoint to `folder` every hundred steps and goes on from one of the same
    rows, targets, batches and settings.
    """
    lower, upper = _cut(trunk, adaptation.first_layer)
    torch.manual_seed(seed)
    for i in range(len(upper.layers)):
        for block, matrices in BLOCKS.items():
            for matrix in matrices:
                upper.layers[i] = _with(upper.layers[i], block, matrix, lambda old: _LowRank(old, adaptation.rank))
    learned = {
        f"{i + adaptation.first_layer}.{block}.{matrix}.{side}": getattr(getattr(getattr(layer, block), matrix), side)
        for i, layer in enumerate(upper.layers)
        for block, matrices in BLOCKS.items()
        for matrix in matrices
        for side in ("down", "up")
    }
    head = head_of(2 * upper.config.hidden_size, 1 + targets.named.shape[1])
    optimiser = torch.optim.AdamW(
        [
            {"params": list(learned.values()), "lr": adaptation.learning_rate, "weight_decay": 0.0},
            {"params": list(head.parameters()), "lr": adaptation.head_rate},
        ]
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (step + 1) / 40) * max(0.02, 1 - step / len(batches))
    )
    checkpoint = folder / f"adaptation-{_key(rows, targets, batches, adaptation, seed)}.pt"
    start = _resume(checkpoint, learned, head, optimiser, schedule)
    progress(start, len(batches))
    states: dict[int, torch.Tensor] = {}
    for step in range(start, len(batches)):
        batch = batches[step]
        _read_lower(lower, rows, [i for i in batch if i not in states], states)
        torch.manual_seed(seed * 1_000_003 + step)  # of dropout, so that a resumed run draws the same
        logits = head(_read_upper(upper, [states[i] for i in batch], [rows[i] for i in batch]))
        loss = targets.loss(logits, batch, adaptation.objective_weight)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(learned.values()), 1.0)
        optimiser.step()
        schedule.step()
        progress(step + 1, len(batches))
        if (step + 1) % 100 == 0 or step + 1 == len(batches):
            _save(checkpoint, step + 1, learned, head, optimiser, schedule)
    update = {name: value.detach().half().contiguous() for name, value in learned.items()}
    return update, {name: value.detach().clone() for name, value in head.state_dict().items()}


def head_of(width: int, outputs: int) -> torch.nn.Sequential:
    """What reads a row of `width` numbers out into logits, as it is taught with an update."""
    return torch.nn.Sequential(torch.nn.LayerNorm(width), torch.nn.Dropout(0.1), torch.nn.Linear(width, outputs))


def _cut(trunk: Any, first: int) -> tuple[Any, Any]:
    parts = []
    for layers in (list(trunk.layers)[:first], list(trunk.layers)[first:]):
        part = copy.copy(trunk)
        part._modules = dict(trunk._modules)
        part.layers = torch.nn.ModuleList(layers)
        part.requires_grad_(False)
        parts.append(part)
    return parts[0], parts[1]


def batches_of(
    lengths: Sequence[int],
    always: Sequence[list[int]],
    once: Sequence[list[int]],
    adaptation: Adaptation,
    random: np.random.Generator,
) -> Iterator[list[int]]:
    """Batches of every epoch: rows of like length together, whole pairs. `always`: pairs that every epoch holds; `once`: those of
    which each epoch holds its share.
    """
    once = [once[i] for i in random.permutation(len(once))]
    for epoch in range(adaptation.epochs):
        units = [*always, *once[epoch :: adaptation.epochs]]
        units = [units[i] for i in random.permutation(len(units))]
        found: list[list[int]] = []
        for start in range(0, len(units), 16 * adaptation.batch):
            part = sorted(units[start : start + 16 * adaptation.batch], key=lambda unit: max(lengths[i] for i in unit))
            batch: list[int] = []
            for unit in part:
                batch += unit
                if len(batch) >= adaptation.batch:
                    found.append(batch)
                    batch = []
            if batch:
                found.append(batch)
        for i in random.permutation(len(found)):
            yield found[i]


def _read_lower(lower: Any, rows: Sequence[Any], wanted: list[int], states: dict[int, torch.Tensor]) -> None:
    if not wanted:
        return
    longest = max(len(rows[i][0]) for i in wanted)
    ids = torch.tensor([rows[i][0] + [0] * (longest - len(rows[i][0])) for i in wanted])
    with torch.no_grad():
        found = lower(input_ids=ids, use_cache=False).last_hidden_state
    for i, row in zip(wanted, found, strict=True):
        states[i] = row[: len(rows[i][0])].clone()


def _read_upper(upper: Any, states: list[torch.Tensor], rows: Sequence[tuple[list[int], int, int]]) -> torch.Tensor:
    padded = torch.nn.utils.rnn.pad_sequence(states, batch_first=True)  # on the right: attention is causal
    found = upper(inputs_embeds=padded, use_cache=False).last_hidden_state.float()
    return torch.stack(
        [
            torch.cat([found[i, start:end].mean(dim=0), found[i, len(ids) - 1]]) / 10
            for i, (ids, start, end) in enumerate(rows)
        ]
    )


def _key(rows: Sequence[Any], targets: Targets, batches: Sequence[list[int]], adaptation: Adaptation, seed: int) -> str:
    taught = [tensor.tolist() for tensor in (targets.unsafe, targets.judged, targets.named, targets.known)]
    texts = [[list(map(int, ids)), start, end] for ids, start, end in rows]
    facts = [texts, taught, [list(batch) for batch in batches], asdict(adaptation), seed]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _save(path: Path, step: int, learned: Update, head: Any, optimiser: Any, schedule: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "step": step,
        "learned": dict(learned),
        "head": head.state_dict(),
        "optimiser": optimiser.state_dict(),
        "schedule": schedule.state_dict(),
    }
    handle, aside = tempfile.mkstemp(dir=path.parent, suffix=".part")
    with os.fdopen(handle, "wb") as file:
        torch.save(state, file)
    Path(aside).replace(path)


def _resume(path: Path, learned: Update, head: Any, optimiser: Any, schedule: Any) -> int:
    if not path.is_file():
        return 0
    state = torch.load(path, weights_only=True)
    with torch.no_grad():
        for name, value in learned.items():
            value.copy_(state["learned"][name])
    head.load_state_dict(state["head"])
    optimiser.load_state_dict(state["optimiser"])
    schedule.load_state_dict(state["schedule"])
    step: int = state["step"]
    return step
