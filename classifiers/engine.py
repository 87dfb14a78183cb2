"""A Llama-shaped model as the few matrix products that it is.

Knows weights, positions and layers. Does not know what its tokens attend to (`attend`), nor who asked for them. How its products come
to be in eight bits: `smoothing.py`. Everything between the products is computed in single precision.
"""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn import functional as F

from classifiers.products import PlainProduct, Product

Attend = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""attend(layer, q (tokens, heads, size), k, v (tokens, key heads, size)) -> (tokens, heads, size)."""


NORMS = ("before_attention", "before_mlp")
PRODUCTS = ("qkv", "out", "gate_up", "down")
"""Of a layer, by name."""


@dataclass(frozen=True)
class Shape:
    """Of a model: attention heads, heads of keys and values, numbers a head has; what the norm adds to a variance; the most
    positions; the tokens that end a text.
    """

    heads: int
    key_heads: int
    size: int
    eps: float
    positions: int
    ends: tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """The norms' weights, single precision, and the products between them."""

    before_attention: torch.Tensor
    qkv: Product
    out: Product
    before_mlp: torch.Tensor
    gate_up: Product
    down: Product

    def to(self, device: torch.device) -> "Layer":
        """The same on a device; its products must be plain."""
        moved: dict[str, Any] = {name: getattr(self, name).to(device) for name in NORMS}
        moved |= {name: _moved(getattr(self, name), device) for name in PRODUCTS}
        return replace(self, **moved)


@dataclass(frozen=True)
class Prompt:
    """What is remembered of a text that was read: of each layer keys (key heads, size, tokens) and values (key heads, tokens, size)."""

    keys: list[torch.Tensor]
    values: list[torch.Tensor]

    @property
    def length(self) -> int:
        return self.keys[0].shape[2]


@dataclass(frozen=True)
class Turning:
    """The rotation of queries and keys at each position (positions, 1, size). Halves (x1, x2) -> (-x2, x1) are a roll, whose signs
    are the sine's.
    """

    cos: torch.Tensor
    sin: torch.Tensor


class Engine:
    """The forward pass of a model without what reading and decoding do not need. `precision`: "int8", or the name of the model's own,
    as "bfloat16".
    """

    def __init__(
        self,
        shape: Shape,
        turning: Turning,
        embedding: torch.Tensor,
        layers: Sequence[Layer],
        norm: torch.Tensor,
        head: Product,
        precision: str,
    ) -> None:
        self.shape = shape
        self.turning = turning
        self.embedding = embedding
        self.layers = list(layers)
        self.norm, self.head = norm, head
        self.precision = precision

    @classmethod
    def of(cls, model: Any) -> "Engine | None":
        """The engine of a model, in its own precision and sharing its weights; None where the model is of another shape than is
        known."""
        from transformers import (
            LlamaForCausalLM,
        )  # a second and a half, which an engine that was kept need not wait for

        if type(model) is not LlamaForCausalLM or not _plain(model.config):
            return None
        config = model.config
        heads = int(config.num_attention_heads)
        size = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
        ends = model.generation_config.eos_token_id
        shape = Shape(
            heads,
            int(config.num_key_value_heads or heads),
            size,
            float(config.rms_norm_eps),
            int(config.max_position_embeddings),
            tuple(ends if isinstance(ends, list) else [] if ends is None else [ends]),
        )
        weight = model.model.embed_tokens.weight
        with torch.inference_mode():
            positions = torch.arange(shape.positions).unsqueeze(0)
            cos, sin = (each[0].float() for each in model.model.rotary_emb(torch.zeros(1, 1), positions))
            sin = torch.cat([-sin[:, : size // 2], sin[:, size // 2 :]], dim=1)
            return cls(
                shape,
                Turning(cos.unsqueeze(1), sin.unsqueeze(1)),
                weight,
                [layer_of(each) for each in model.model.layers],
                model.model.norm.weight.float(),
                PlainProduct(model.lm_head.weight),
                str(weight.dtype).removeprefix("torch."),
            )

    @property
    def device(self) -> torch.device:
        """Where its products are computed. Tokens may be given from anywhere; logits come to the processor, which draws."""
        return self.embedding.device

    def to(self, device: torch.device) -> "Engine":
        """The same on a device; its products must be plain."""
        other = copy(self)
        other.turning = Turning(self.turning.cos.to(device), self.turning.sin.to(device))
        other.embedding, other.norm = self.embedding.to(device), self.norm.to(device)
        other.layers, other.head = [layer.to(device) for layer in self.layers], _moved(self.head, device)
        return other

    def with_layers(self, layers: Sequence[Layer]) -> "Engine":
        """The same with other layers, or fewer."""
        other = copy(self)
        other.layers = list(layers)
        return other

    def states(
        self, tokens: torch.Tensor, positions: torch.Tensor, attend: Attend, kept: Sequence[int] = ()
    ) -> torch.Tensor:
        """Tokens and their positions (tokens,) -> the last layer's states (tokens, width), single precision; with `kept`, the states
        after so many layers each instead: (kept, tokens, width).
        """
        tokens, positions = tokens.to(self.device), positions.to(self.device)
        x = self.embedding[tokens].float()
        cos, sin = self.turning.cos[positions], self.turning.sin[positions]
        heads, size = self.shape.heads, self.shape.size
        rotated, half = heads + self.shape.key_heads, size // 2
        found = {0: x}
        for i, layer in enumerate(self.layers):
            qkv = layer.qkv(self._normed(x, layer.before_attention)).view(len(x), -1, size)
            turned = qkv[:, :rotated]
            turned = turned * cos + turned.roll(half, -1) * sin
            o = attend(i, turned[:, :heads], turned[:, heads:], qkv[:, rotated:])
            x = x + layer.out(o.reshape(len(x), -1))
            gate, up = layer.gate_up(self._normed(x, layer.before_mlp)).chunk(2, dim=-1)
            x = x + layer.down(F.silu(gate).mul_(up))
            if i + 1 in kept:
                found[i + 1] = x
        return torch.stack([found[each] for each in kept]) if kept else x

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """(rows, width) -> (rows, vocabulary), single precision."""
        return self.head(self._normed(states, self.norm)).cpu()

    def read(self, tokens: Sequence[int]) -> tuple[Prompt, torch.Tensor]:
        """A text from its beginning: what is remembered of it, and the logits (1, vocabulary) of what comes next."""
        prompt, states = self._read(tokens, None)
        return prompt, self.logits(states[-1:])

    def remember(self, tokens: Sequence[int]) -> Prompt:
        """What is remembered of a text from its beginning."""
        return self._read(tokens, None)[0]

    def follow(self, prompt: Prompt | None, tokens: Sequence[int]) -> torch.Tensor:
        """The logits (tokens, vocabulary) of what comes after each of the tokens, which follow on the prompt, or on nothing."""
        return self.logits(self._read(tokens, prompt)[1])

    def _read(self, tokens: Sequence[int], past: Prompt | None) -> tuple[Prompt, torch.Tensor]:
        keys: list[torch.Tensor] = []
        values: list[torch.Tensor] = []
        before, times = past.length if past else 0, self.shape.heads // self.shape.key_heads
        seen = None
        if past:
            seen = torch.ones(len(tokens), before + len(tokens), dtype=torch.bool, device=self.device).tril(before)

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

    def _normed(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + self.shape.eps)
        return (x * scale).mul_(weight)


def layer_of(layer: Any) -> Layer:
    """A layer of transformers, in its own precision."""
    a, m = layer.self_attn, layer.mlp
    return Layer(
        layer.input_layernorm.weight.float(),
        PlainProduct(torch.cat([a.q_proj.weight, a.k_proj.weight, a.v_proj.weight])),
        PlainProduct(a.o_proj.weight),
        layer.post_attention_layernorm.weight.float(),
        PlainProduct(torch.cat([m.gate_proj.weight, m.up_proj.weight])),
        PlainProduct(m.down_proj.weight),
    )


def _moved(product: Product, device: torch.device) -> Product:
    assert isinstance(product, PlainProduct)
    return PlainProduct(product.weight.to(device))


def _plain(config: Any) -> bool:
    """Whether the model is what `Engine` computes: no biases, one rotation for all positions, SiLU."""
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kind = rope.get("rope_type", "default")
    biased = getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False)
    return not biased and kind in ("default", "linear", "llama3") and config.hidden_act == "silu"
