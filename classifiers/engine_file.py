"""An engine in eight bits as a folder of two files and their checksums, so that the next start need not round the weights again.

Knows tensors and their names. Does not know what they are for nor where the folder is (`engines.py`).
"""

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from classifiers.engine import NORMS, PRODUCTS, Engine, Layer, Shape, Turning
from classifiers.models import verify_once, write_checksums
from classifiers.products import Int8Product, Product

WEIGHTS, CONFIG = "engine.safetensors", "engine.json"


def write_engine(engine: Engine, folder: Path) -> None:
    """A whole engine, all of whose products are `Int8Product`."""
    parts = {"embedding": engine.embedding, "norm": engine.norm, "cos": engine.turning.cos, "sin": engine.turning.sin}
    parts |= _product("head", engine.head)
    _write(folder, parts | _layers(engine.layers), {"shape": asdict(engine.shape), "layers": len(engine.layers)})


def read_engine(folder: Path) -> Engine:
    """Read and verify. Raises `models.DamagedWeights`."""
    config, parts = _read(folder)
    shape = Shape(**{**config["shape"], "ends": tuple(config["shape"]["ends"])})
    turning = Turning(_kept(parts, "cos"), _kept(parts, "sin"))
    layers = _read_layers(parts, config["layers"])
    return Engine(shape, turning, _kept(parts, "embedding"), layers, _kept(parts, "norm"), _int8(parts, "head"), "int8")


def write_layers(layers: Sequence[Layer], folder: Path) -> None:
    """Some layers alone, all of whose products are `Int8Product`."""
    _write(folder, _layers(layers), {"layers": len(layers)})


def read_layers(folder: Path) -> list[Layer]:
    """Read and verify. Raises as `read_engine` does."""
    config, parts = _read(folder)
    return _read_layers(parts, config["layers"])


def _write(folder: Path, parts: dict[str, torch.Tensor], config: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: part.contiguous() for name, part in parts.items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n")
    write_checksums(folder)


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    verify_once(folder)
    return json.loads((folder / CONFIG).read_text()), load_file(folder / WEIGHTS)


def _layers(layers: Sequence[Layer]) -> dict[str, torch.Tensor]:
    parts: dict[str, torch.Tensor] = {}
    for i, layer in enumerate(layers):
        parts |= {f"{i}.{name}": getattr(layer, name) for name in NORMS}
        for name in PRODUCTS:
            parts |= _product(f"{i}.{name}", getattr(layer, name))
    return parts


def _read_layers(parts: Mapping[str, torch.Tensor], count: int) -> list[Layer]:
    # Putting weights in the order that the products want is most of the work, and one core's.
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="winnow-layers") as pool:
        return list(pool.map(lambda i: _layer(parts, i), range(count)))


def _layer(parts: Mapping[str, torch.Tensor], i: int) -> Layer:
    norms = {name: _kept(parts, f"{i}.{name}") for name in NORMS}
    products = {name: _int8(parts, f"{i}.{name}") for name in PRODUCTS}
    return Layer(**norms, **products)  # type: ignore[arg-type]


def _product(name: str, product: Product) -> dict[str, torch.Tensor]:
    assert isinstance(product, Int8Product)
    whole, scales = product.parts()
    return {f"{name}.whole": whole, f"{name}.scales": scales}


def _int8(parts: Mapping[str, torch.Tensor], name: str) -> Int8Product:
    return Int8Product(parts[f"{name}.whole"], parts[f"{name}.scales"])


def _kept(parts: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    # Out of the mapped file: what happens to it must not change a running server.
    return parts[name].clone()
