"""An engine's products in eight bits (SmoothQuant, arXiv 2211.10438, alpha 1/2).

Knows which product meets which norm. Does not know how eight bits are multiplied (`products.py`).

A few inputs of a product are far larger than the others, and would take all of the eight bits: some of their size goes over into the
weights that they meet, and is taken off where they come from, in the norm before or in the rows of "up".
"""

import ctypes
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import torch

from classifiers.engine import PRODUCTS, Engine, Layer
from classifiers.products import Int8Product, PlainProduct, Product, largest

Inputs = dict[tuple[int, str], torch.Tensor]
"""Of each product, (layer, name), the largest absolute value that each of its inputs takes."""


@torch.inference_mode()
def in_eight_bits(engine: Engine, sample: Sequence[int]) -> Engine:
    """The engine with eight-bit products for all that are plain, set up by a sample: tokens of ordinary text. Needs the plain weights
    no longer. Raises as `Int8Product` does.
    """
    inputs = _largest_inputs(engine, sample)
    layers = [_smoothed(i, layer, inputs) if _plain(layer) else layer for i, layer in enumerate(engine.layers)]
    found = engine.with_layers(layers)
    if isinstance(engine.head, PlainProduct):
        weight = _copied(engine.head)
        moved = _moved(inputs[len(layers), "head"], weight)
        found.norm, found.head = engine.norm / moved, Int8Product.of(weight.mul_(moved))
        del weight
        found.embedding = engine.embedding.clone()  # out of the model
    found.precision = "int8"
    _give_back()
    return found


def _smoothed(i: int, layer: Layer, inputs: Inputs) -> Layer:
    norms = {"qkv": layer.before_attention, "gate_up": layer.before_mlp}
    weights = {name: _copied(getattr(layer, name)) for name in PRODUCTS}
    for name in ("qkv", "gate_up", "down"):
        moved = _moved(inputs[i, name], weights[name])
        weights[name] *= moved
        if name == "down":
            weights["gate_up"][len(moved) :] /= moved.unsqueeze(1)
        else:
            norms[name] = norms[name] / moved
    products = {name: Int8Product.of(weights.pop(name)) for name in PRODUCTS}
    return Layer(before_attention=norms["qkv"], before_mlp=norms["gate_up"], **products)


def _largest_inputs(engine: Engine, sample: Sequence[int]) -> Inputs:
    found: Inputs = {}

    def noting(product: Product, key: tuple[int, str]) -> Product:
        def noted(x: torch.Tensor) -> torch.Tensor:
            found[key] = x.abs().amax(0)
            return product(x)

        return noted

    noted = engine.with_layers(
        [
            replace(layer, **{name: noting(getattr(layer, name), (i, name)) for name in PRODUCTS})  # type: ignore[arg-type]
            for i, layer in enumerate(engine.layers)
        ]
    )
    noted.head = noting(engine.head, (len(engine.layers), "head"))
    noted.follow(None, sample)  # the head too meets all of them
    return found


def _plain(layer: Layer) -> bool:
    return isinstance(layer.qkv, PlainProduct)


def _copied(plain: Product) -> torch.Tensor:
    """The weight of a plain product in single precision, to be changed."""
    assert isinstance(plain, PlainProduct)
    return plain.weight.to(torch.float32, copy=True)


def _moved(inputs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """By what each input (inputs,) of a product is divided, and its weights (outputs, inputs) multiplied."""
    return (inputs.clamp_min(1e-5) / largest(weight, 0).clamp_min(1e-5)).sqrt().clamp(1e-4, 1e4)


def _give_back() -> None:
    """What loading took for a moment to the system, where the C library would keep it for later."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # of another C library than GNU's
            ctypes.CDLL("libc.so.6").malloc_trim(0)
