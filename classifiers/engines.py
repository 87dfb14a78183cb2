"""Engines by a model's name: one in eight bits for each model, and for each update a reader that shares the layers below it.

Knows the cache and what an engine is made from. Does not know how it computes.

What was rounded once is kept in Winnow's cache, under a name that tells model, update and way of rounding: a server that starts again
needs neither the model's own weights nor transformers' classes.
"""

import functools
import hashlib
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError

from classifiers import models
from classifiers.adaptation import Update, fingerprint, first_layers
from classifiers.engine import Engine, Layer, layer_of
from classifiers.engine_file import read_engine, read_layers, write_engine, write_layers
from classifiers.products import has_eight_bits
from classifiers.smoothing import in_eight_bits

log = logging.getLogger(__name__)
T = TypeVar("T")

INT8 = "int8"
NO_PRODUCTS = "no eight-bit products here: the model's own precision"
ROUNDING = "1"
"""Of the way in which weights are rounded: what was rounded in another is not looked at."""

SAMPLE = [
    {"role": "user", "content": "How do bees find their way home? And how is `area = 3.14 * r ** 2` meant?"},
    {
        "role": "assistant",
        "content": 'They use the sun, landmarks and scent. "Thank you," she said; "that helps a lot!" First, heat the oil. Second, add '
        "onions and stir for five minutes. In 1969, two people walked on the Moon; it took 8 days. It depends on what you need: a "
        "cheap one is fine for home use, but I'd ask a doctor before taking more. def double(x): return 2 * x",
    },
    {"role": "user", "content": "Tell me more, please."},
]
"""Ordinary text, by which eight-bit products are set up."""


class NotRounded(ValueError):
    """No eight-bit engine can be made of this model on this machine; the message says why."""


def load(name: str) -> Engine | None:
    """The engine of a model by name or path, one copy a process; None for a model whose shape has none. On a GPU where there is one;
    else in eight bits for a model in half precision on a machine that has them, else in its own. Raises `models.ModelNotFound`.
    """
    return _load(models.resolve(name, weights=False).resolve())


@functools.lru_cache(maxsize=4)
def _load(source: Path) -> Engine | None:
    device = accelerator()
    if device is not None:
        engine = Engine.of(models.load(str(source))[0])
        return engine.to(device) if engine else None

    def made() -> Engine:
        model, tokenizer = models.load(str(source))
        return rounded(Engine.of(model), tokenizer)

    try:
        return _kept(key(source), made, write_engine, read_engine)
    except NotRounded as reason:
        log.warning("%s: %s", source.name, reason)
        return Engine.of(models.load(str(source))[0])


def accelerator() -> torch.device | None:
    """A GPU, where torch has one to compute on."""
    return torch.device("cuda") if torch.cuda.is_available() else None


def load_adapted(name: str, update: Update | None, count: int) -> Engine:
    """The first `count` layers of a model by name or path, with an update laid in. Those below the update are the very ones of `load`.

    Raises `models.ModelNotFound`; ValueError for a model whose shape has no engine.
    """
    engine = load(name)
    if engine is None:
        raise ValueError(f"{name}: its shape has no engine, and a reader needs one")
    if not update:
        return engine.with_layers(engine.layers[:count])

    def made() -> list[Layer]:
        model, tokenizer = models.load(name)
        return adapted(engine, model.model, update, count, tokenizer).layers[first_of(update) :]

    first = first_of(update)
    if engine.precision == INT8:
        own = f"{key(models.resolve(name, weights=False))}-{fingerprint(update)}-{count}"
        upper = _kept(own, made, write_layers, read_layers)
    else:
        upper = made()
    return engine.with_layers([*engine.layers[:first], *upper])


def rounded(engine: Engine | None, tokenizer: Any) -> Engine:
    """In eight bits. Raises `NotRounded`."""
    if engine is None:
        raise NotRounded("a model of another shape than those that have an engine")
    if engine.embedding.dtype is not torch.bfloat16:
        raise NotRounded(f"eight bits are for models in half precision, not {engine.precision}")
    if not has_eight_bits():
        raise NotRounded(NO_PRODUCTS)
    return in_eight_bits(engine, sample_of(tokenizer))


def of(model: Any, tokenizer: Any) -> Engine | None:
    """The engine of a loaded model, as `load` gives it."""
    engine = Engine.of(model)
    with suppress(NotRounded):
        return rounded(engine, tokenizer)
    return engine


def adapted(engine: Engine, trunk: Any, update: Update | None, count: int, tokenizer: Any) -> Engine:
    """The first `count` layers of an engine with an update of those of the trunk of transformers that it was made of."""
    if not update:
        return engine.with_layers(engine.layers[:count])
    first = first_of(update)
    upper = [layer_of(layer).to(engine.device) for layer in first_layers(trunk, count, update)[first:]]
    whole = engine.with_layers([*engine.layers[:first], *upper])
    return in_eight_bits(whole, sample_of(tokenizer)) if engine.precision == INT8 else whole


def sample_of(tokenizer: Any) -> list[int]:
    """Tokens of `SAMPLE`, framed as the model's own conversations are."""
    text = tokenizer.apply_chat_template(SAMPLE, tokenize=False, add_generation_prompt=True)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def first_of(update: Update) -> int:
    """The lowest layer that an update changes."""
    return min(int(name.partition(".")[0]) for name in update)


def key(source: Path) -> str:
    """Tells a model's files, and the way of rounding, from others."""
    sums = source / models.CHECKSUMS
    if sums.is_file():
        told = sums.read_text()
    else:
        told = json.dumps({path.name: models.sha256(path) for path in sorted(source.iterdir()) if path.is_file()})
    return f"{source.name}-{hashlib.sha256(f'{ROUNDING} {told}'.encode()).hexdigest()[:16]}"


def _kept(name: str, make: Callable[[], T], write: Callable[[T, Path], None], read: Callable[[Path], T]) -> T:
    """What the cache holds under a name; made, and put there, where it does not. Raises `NotRounded`, and as `make` does."""
    if not has_eight_bits():
        raise NotRounded(NO_PRODUCTS)
    try:
        return read(models.derived(f"engines/{name}", lambda folder: write(make(), folder)))
    except (OSError, SafetensorError) as error:  # a cache that cannot be written to, or is full
        log.warning("not kept for the next start: %s", error)
        return make()
