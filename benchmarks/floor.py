"""The least time that a decode step can take on this machine: every weight read once, every multiply-add done once.

Floor = max(bytes of the weights / memory bandwidth, multiply-adds / peak), both measured here with what torch offers: the roofline of
Williams, Waterman and Patterson (2009). Attention, norms and the draw of tokens count nothing, so that no real step reaches it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

WIDTH = {"int8": 1, "bfloat16": 2, "float16": 2, "float32": 4}
"""Bytes of a weight."""
SIDE = 2048
"""Of the square matrices whose product shows the peak; a product of two has SIDE³ multiply-adds."""
READ = 2**28
"""Bytes that are read to measure bandwidth: more than a processor's cache holds."""
REPEATS = 4


@dataclass(frozen=True)
class Machine:
    """`bandwidth`: bytes a second that can be read; `peak`: multiply-adds a second."""

    bandwidth: float
    peak: float


@dataclass(frozen=True)
class Floor:
    """Seconds of a step, by what bounds it."""

    memory: float
    arithmetic: float

    @property
    def seconds(self) -> float:
        return max(self.memory, self.arithmetic)

    @property
    def bound(self) -> str:
        return "memory" if self.memory >= self.arithmetic else "arithmetic"


def floor(weights: int, rows: int, precision: str, machine: Machine) -> Floor:
    """Of a step of so many rows through products with so many weights in all."""
    return Floor(weights * WIDTH[precision] / machine.bandwidth, weights * rows / machine.peak)


def weights_of(model: Any) -> int:
    """Of all the products of a token's pass, the one to the vocabulary included; an embedding is looked up, not multiplied."""
    return sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear))


def measured(precision: str, read: int = READ, side: int = SIDE) -> Machine:
    """Each the best of several ways and of several times: a peak is what is possible. Raises KeyError for an unknown precision."""
    numbers = torch.ones(read // 4)
    square = numbers.view(-1, 1024)
    one = torch.ones(1024)
    bandwidth = max(_best(numbers.sum), _best(numbers.max), _best(lambda: square @ one)) * read
    return Machine(bandwidth, max(_best(product) for product in _products(precision, side)) * side**3)


def _products(precision: str, side: int) -> list[Callable[[], Any]]:
    if precision != "int8":
        dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}[precision]
        matrix = torch.ones(side, side, dtype=dtype)
        return [lambda: matrix @ matrix]
    whole = torch.ones(side, side, dtype=torch.int8)
    found: list[Callable[[], Any]] = [lambda: torch._int_mm(whole, whole)]
    # The kernel that the engine uses, which takes single precision and gives it back.
    from classifiers.products import Int8Product

    product, x = Int8Product.of(torch.ones(side, side)), torch.ones(side, side)
    return [*found, lambda: product._product(x, product._scale, 128, product._packed)]


def _best(work: Callable[[], Any]) -> float:
    """Times a second."""
    work()
    times = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return 1 / min(times)
