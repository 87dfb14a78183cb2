"""A Llama-shaped model as the few matrix products that it is, in eight-bit integers where the machine has them.

Knows weights, positions and layers. Does not know what its tokens attend to (`attend`), nor who asked for them.

Eight bits: a weight matrix has one scale for each output, an activation one for each token (as in LLM.int8(), arXiv 2208.07339, and
SmoothQuant's per-token setting, arXiv 2211.10438), so that the product is exact in integers and a token's result depends on no other
token of the pass. Everything between the products is computed in single precision.
"""

import ctypes
import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch.nn import functional as F
from transformers import LlamaForCausalLM

log = logging.getLogger(__name__)

Attend = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""attend(layer, q (tokens, heads, size), k, v (tokens, key heads, size)) -> (tokens, heads, size)."""


class Product(Protocol):
    """x (tokens, inputs) in single precision -> (tokens, outputs) in single precision."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor: ...


class Int8Product:
    """x @ weight.T with both in eight bits. Raises RuntimeError, AttributeError where torch has no such product
    for this machine."""

    def __init__(self, weight: torch.Tensor) -> None:
        """weight: (outputs, inputs)."""
        scales = (_largest(weight, 1) / 127).clamp_min(1e-12)
        zeros = torch.zeros(len(scales), dtype=torch.int64)
        with warnings.catch_warnings():
            # Deprecated, and what torch's eight-bit kernels for x86 take; `Engine.of` goes on without them when they are gone.
            warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)
            whole = torch.quantize_per_channel(weight.float(), scales.double(), zeros, 0, torch.qint8)
        self._packed = torch.ops.quantized.linear_prepack(whole, None)
        self._product = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32.default
        # Without VNNI sums of two products are held in 16 bits, which eight-bit activations can overflow.
        self._scale = 1 / (127 if torch.cpu._is_vnni_supported() else 63)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        largest = x.abs().amax(-1, keepdim=True).clamp_min_(1e-12)
        product: torch.Tensor = self._product(x / largest, self._scale, 128, self._packed)
        return product.mul_(largest)


class PlainProduct:
    """x @ weight.T in the weight's own precision."""

    def __init__(self, weight: torch.Tensor) -> None:
        self._weight = weight

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x.to(self._weight.dtype), self._weight).float()


@dataclass(frozen=True)
class _Layer:
    before_attention: torch.Tensor
    qkv: Product
    out: Product
    before_mlp: torch.Tensor
    gate_up: Product
    down: Product


@dataclass(frozen=True)
class Prompt:
    """What is remembered of a text that was read: of each layer keys (key heads, size, tokens) and values (key heads, tokens, size)."""

    keys: list[torch.Tensor]
    values: list[torch.Tensor]

    @property
    def length(self) -> int:
        return self.keys[0].shape[2]


PRODUCTS = ("qkv", "out", "gate_up", "down")


class Engine:
    """The forward pass of a `LlamaForCausalLM` without what a decoder does not need. In eight bits it needs the model no longer."""

    def __init__(self, model: LlamaForCausalLM, sample: Sequence[int] | None = None) -> None:
        """`sample`: tokens of ordinary text, by which the eight-bit products are set up; without it, the model's own precision.

        Raises as `Int8Product`.
        """
        config = model.config
        self.heads = int(config.num_attention_heads)
        self.key_heads = int(config.num_key_value_heads or self.heads)
        self.size = int(getattr(config, "head_dim", None) or config.hidden_size // self.heads)
        self.layers_count = int(config.num_hidden_layers)
        self._eps = config.rms_norm_eps
        self._embedding = model.model.embed_tokens.weight.clone()
        self._layers = [_plain_layer(layer) for layer in model.model.layers]
        self._norm = model.model.norm.weight.float()
        self._head: Product = PlainProduct(model.lm_head.weight)
        positions = torch.arange(config.max_position_embeddings).unsqueeze(0)
        cos, sin = model.model.rotary_emb(torch.zeros(1, 1), positions)
        half = self.size // 2
        self._cos = cos[0].float().unsqueeze(1)
        # The rotation of halves (x1, x2) -> (-x2, x1) as a roll, whose signs are the sine's.
        self._sin = torch.cat([-sin[0, :, :half], sin[0, :, half:]], dim=1).float().unsqueeze(1)
        self.precision = str(self._embedding.dtype).removeprefix("torch.")
        """"int8", or the name of the model's own, as "bfloat16"."""
        if sample is not None:
            self._to_int8(model, sample)
            self.precision = "int8"

    @classmethod
    def of(cls, model: Any, sample: Sequence[int] | None = None) -> "Engine | None":
        """The engine of a model; None where it is of another shape than this one knows. Eight bits with a `sample`, for a model in half
        precision on a machine that has them.
        """
        if type(model) is not LlamaForCausalLM or not _plain(model.config):
            return None
        with torch.inference_mode():
            if sample is not None and model.dtype is torch.bfloat16:
                try:
                    return cls(model, sample)
                except (RuntimeError, AttributeError, NotImplementedError) as error:
                    log.warning("no eight-bit products here (%s): the model's own precision", type(error).__name__)
            return cls(model)

    def states(self, tokens: torch.Tensor, positions: torch.Tensor, attend: Attend) -> torch.Tensor:
        """Tokens and their positions (tokens,) -> the last layer's states (tokens, width), single precision."""
        x = self._embedding[tokens].float()
        cos, sin = self._cos[positions], self._sin[positions]
        rotated, half = self.heads + self.key_heads, self.size // 2
        for i, layer in enumerate(self._layers):
            qkv = layer.qkv(self._normed(x, layer.before_attention)).view(len(x), -1, self.size)
            turned = qkv[:, :rotated]
            turned = turned * cos + turned.roll(half, -1) * sin
            o = attend(i, turned[:, : self.heads], turned[:, self.heads :], qkv[:, rotated:])
            x = x + layer.out(o.reshape(len(x), -1))
            gate, up = layer.gate_up(self._normed(x, layer.before_mlp)).chunk(2, dim=-1)
            x = x + layer.down(F.silu(gate).mul_(up))
        return x

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """(rows, width) -> (rows, vocabulary), single precision."""
        return self._head(self._normed(states, self._norm))

    def read(self, tokens: Sequence[int]) -> tuple[Prompt, torch.Tensor]:
        """A text from its beginning: what is remembered of it, and the logits (1, vocabulary) of what comes next."""
        prompt, states = self._read(tokens, None)
        return prompt, self.logits(states[-1:])

    def follow(self, prompt: Prompt, tokens: Sequence[int]) -> torch.Tensor:
        """The logits (tokens, vocabulary) of what comes after each of the tokens, which follow on the prompt."""
        return self.logits(self._read(tokens, prompt)[1])

    def _read(self, tokens: Sequence[int], past: Prompt | None) -> tuple[Prompt, torch.Tensor]:
        keys: list[torch.Tensor] = []
        values: list[torch.Tensor] = []
        before, times = past.length if past else 0, self.heads // self.key_heads
        seen = torch.ones(len(tokens), before + len(tokens), dtype=torch.bool).tril(before) if past else None

        def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            k, v = k.permute(1, 2, 0), v.transpose(0, 1)
            if past:
                k, v = torch.cat([past.keys[layer], k], dim=2), torch.cat([past.values[layer], v], dim=1)
            keys.append(k.contiguous())
            values.append(v.contiguous())
            found = F.scaled_dot_product_attention(
                q.transpose(0, 1).unsqueeze(0),
                k.transpose(1, 2).repeat_interleave(times, 0).unsqueeze(0),
                v.repeat_interleave(times, 0).unsqueeze(0),
                attn_mask=seen,
                is_causal=seen is None,
            )
            return found[0].transpose(0, 1)

        positions = torch.arange(before, before + len(tokens))
        states = self.states(torch.tensor(tokens), positions, attend)
        return Prompt(keys, values), states

    def _to_int8(self, model: LlamaForCausalLM, sample: Sequence[int]) -> None:
        """Eight-bit products in place of the plain ones. A few inputs of a product are far larger than the others, and would take all
        of the eight bits: some of their size goes over into the weights that they meet, and is taken off where they come from, in
        the norm before or in the rows of "up" (SmoothQuant, arXiv 2211.10438, alpha 1/2).
        """
        largest = self._largest_inputs(sample)
        for i, layer in enumerate(model.model.layers):
            plain = _weights(layer)
            for name in ("qkv", "gate_up", "down"):
                moved = _moved(largest[i, name], plain[name])
                plain[name] = plain[name] * moved
                if name == "down":
                    plain["gate_up"][len(moved) :] /= moved.unsqueeze(1)
                else:
                    norm = "before_attention" if name == "qkv" else "before_mlp"
                    plain[norm] = plain[norm] / moved
            products = {name: Int8Product(plain.pop(name)) for name in PRODUCTS}
            self._layers[i] = _Layer(**plain, **products)  # type: ignore[arg-type]
        head = model.lm_head.weight.to(torch.float32, copy=True)
        moved = _moved(largest[len(self._layers), "head"], head)
        self._norm, self._head = self._norm / moved, Int8Product(head.mul_(moved))
        del head
        _give_back()

    def _largest_inputs(self, sample: Sequence[int]) -> dict[tuple[int, str], torch.Tensor]:
        """Of each product the largest absolute value that each of its inputs takes in the sample, by (layer, name)."""
        largest: dict[tuple[int, str], torch.Tensor] = {}

        def noting(product: Product, key: tuple[int, str]) -> Product:
            def noted(x: torch.Tensor) -> torch.Tensor:
                largest[key] = x.abs().amax(0)
                return product(x)

            return noted

        layers, head = self._layers, self._head
        self._layers = [
            replace(layer, **{name: noting(getattr(layer, name), (i, name)) for name in PRODUCTS})  # type: ignore[arg-type]
            for i, layer in enumerate(layers)
        ]
        self._head = noting(head, (len(layers), "head"))
        self.logits(self._read(sample, None)[1])
        self._layers, self._head = layers, head
        return largest

    def _normed(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + self._eps)
        return (x * scale).mul_(weight)


def _weights(layer: Any) -> dict[str, torch.Tensor]:
    """The weights of a layer of transformers by the fields of `_Layer`, in single precision."""
    a, m = layer.self_attn, layer.mlp
    return {
        "before_attention": layer.input_layernorm.weight.float(),
        "qkv": torch.cat([a.q_proj.weight, a.k_proj.weight, a.v_proj.weight]).float(),
        "out": a.o_proj.weight.float(),
        "before_mlp": layer.post_attention_layernorm.weight.float(),
        "gate_up": torch.cat([m.gate_proj.weight, m.up_proj.weight]).float(),
        "down": m.down_proj.weight.float(),
    }


def _plain_layer(layer: Any) -> _Layer:
    weights, own = _weights(layer), layer.mlp.down_proj.weight.dtype
    return _Layer(**{n: PlainProduct(w.to(own)) if n in PRODUCTS else w for n, w in weights.items()})  # type: ignore[arg-type]


def _moved(largest: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """By what each input (inputs,) of a product is divided, and its weights (outputs, inputs) multiplied."""
    return (largest.clamp_min(1e-5) / _largest(weight, 0).clamp_min(1e-5)).sqrt().clamp(1e-4, 1e4)


def _largest(weight: torch.Tensor, dim: int) -> torch.Tensor:
    """The largest absolute values along a dimension, without a second matrix of that size."""
    low, high = weight.float().aminmax(dim=dim)
    return torch.maximum(-low, high)


def _give_back() -> None:
    """What loading took for a moment to the system, where the C library would keep it for later."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # of another C library than GNU's
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def _plain(config: Any) -> bool:
    """Whether the model is what `Engine` computes: no biases, one rotation for all positions, SiLU."""
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kind = rope.get("rope_type", "default")
    biased = getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False)
    return not biased and kind in ("default", "linear", "llama3") and config.hidden_act == "silu"
