"""Matrix products of a frozen model: in eight-bit integers where the machine has them, else in the weights' own precision.

Knows numbers. Does not know what is multiplied.

Eight bits: a weight matrix has one scale for each output, an activation one for each token (as in LLM.int8(), arXiv 2208.07339, and
SmoothQuant's per-token setting, arXiv 2211.10438), so that the product is exact in integers and a token's result depends on no other
token of the pass.
"""

import warnings
from typing import Protocol

import torch
from torch.nn import functional as F


class Product(Protocol):
    """x (tokens, inputs) in single precision -> (tokens, outputs) in single precision."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor: ...


class Int8Product:
    """x @ weight.T with both in eight bits. Only where `has_eight_bits`."""

    def __init__(self, whole: torch.Tensor, scales: torch.Tensor) -> None:
        """whole: (outputs, inputs) int8; scales: (outputs,), what a whole number of a row is worth."""
        zeros = torch.zeros(len(scales), dtype=torch.int64)
        with warnings.catch_warnings():
            # Deprecated, and what torch's eight-bit kernels for x86 take; engines go on without them when they are gone.
            warnings.filterwarnings("ignore", "torch.", UserWarning)
            weight = torch._make_per_channel_quantized_tensor(whole, scales.double(), zeros, 0)
        self._packed = torch.ops.quantized.linear_prepack(weight, None)
        self._product = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32.default
        # Without VNNI sums of two products are held in 16 bits, which eight-bit activations can overflow.
        self._scale = 1 / (127 if torch.cpu._is_vnni_supported() else 63)

    @classmethod
    def of(cls, weight: torch.Tensor) -> "Int8Product":
        """Of a weight (outputs, inputs), rounded."""
        scales = (largest(weight, 1) / 127).clamp_min(1e-12)
        whole = (weight.float() / scales.unsqueeze(1)).round_().clamp_(-128, 127).to(torch.int8)
        return cls(whole, scales)

    def parts(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What it was made of: (outputs, inputs) int8 and (outputs,) in double precision."""
        weight, _ = torch.ops.quantized.linear_unpack(self._packed)
        return weight.int_repr(), weight.q_per_channel_scales()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        most = x.abs().amax(-1, keepdim=True).clamp_min_(1e-12)
        product: torch.Tensor = self._product(x / most, self._scale, 128, self._packed)
        return product.mul_(most)


def has_eight_bits() -> bool:
    """Whether torch has such products for this machine."""
    try:
        Int8Product.of(torch.eye(8))(torch.ones(1, 8))
    except (RuntimeError, AttributeError):
        return False
    return True


class PlainProduct:
    """x @ weight.T in the weight's own precision."""

    def __init__(self, weight: torch.Tensor) -> None:
        self.weight = weight

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x.to(self.weight.dtype), self.weight).float()


def largest(weight: torch.Tensor, dim: int) -> torch.Tensor:
    """The largest absolute values along a dimension, without a second matrix of that size."""
    low, high = weight.float().aminmax(dim=dim)
    return torch.maximum(-low, high)
