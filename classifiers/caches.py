"""What a causal model remembers of several texts, side by side: rows of unequal length in one forward pass.

Knows keys, values and padding. Does not know what the texts are for.

Rows are padded on the left, where the mask lets nothing attend, so that what comes next comes at one place for all of them.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import pad
from transformers.cache_utils import DynamicCache, DynamicLayer

Layers = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of each layer: (rows, heads, positions, size)."""


def joinable(cache: Any) -> bool:
    """Whether rows of the cache can stand beside others: one that forgets, or sums up, cannot be padded."""
    return type(cache) is DynamicCache and all(type(layer) is DynamicLayer for layer in cache.layers)


def layers_of(cache: Any) -> Layers:
    return [(layer.keys, layer.values) for layer in cache.layers]


def repeated(layers: Layers, rows: int) -> Layers:
    """One row, so many times; no memory is taken until they are joined."""
    return [(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1)) for keys, values in layers]


def chosen(layers: Layers, rows: Sequence[int], positions: int) -> Layers:
    """Some of the rows, and of their positions the last so many."""
    picked, start = list(rows), layers[0][0].shape[-2] - positions
    return [(keys[picked, :, start:], values[picked, :, start:]) for keys, values in layers]


def joined(parts: Sequence[Layers]) -> Layers:
    """The rows of all parts under one another."""
    longest = max(part[0][0].shape[-2] for part in parts)
    return [
        (_padded([keys for keys, _ in layer], longest), _padded([values for _, values in layer], longest))
        for layer in zip(*parts, strict=True)
    ]


def cache_of(layers: Layers) -> DynamicCache:
    """A cache that holds these and can be read on with."""
    cache = DynamicCache()
    for keys, values in layers:
        layer = DynamicLayer()
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys, values
        cache.layers.append(layer)
    return cache


def mask(lengths: torch.Tensor, filled: int, new: int) -> torch.Tensor | None:
    """Where each row (rows,) of so many of the `filled` positions, and all of the `new` ones, may be attended to: (rows, filled + new)
    of 0 and 1; None where nothing is padding.
    """
    if bool((lengths == filled).all()):
        return None
    return (torch.arange(filled + new) >= (filled - lengths).unsqueeze(1)).long()


def _padded(sides: Sequence[torch.Tensor], longest: int) -> torch.Tensor:
    return torch.cat([pad(side, (0, 0, longest - side.shape[-2], 0)) for side in sides])
