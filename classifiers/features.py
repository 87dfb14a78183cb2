"""Features of labelled examples, read once by the backbone and kept on disk, so that training again costs seconds.

Knows rows and files. Does not know labels: a label or a split may change without anything being read again.
"""

import hashlib
import json
import os
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from classifiers import models
from classifiers.backbone import CONTEXT_TOKENS, WINDOW_TOKENS, Backbone, Features
from classifiers.labelled import Turn

CHUNK = 512

Exchange = tuple[Sequence[Turn], str, str]
"""(context, reply, role)"""


def featurise(
    exchanges: Sequence[Exchange],
    backbone: Backbone,
    backbone_name: str,
    progress: Callable[[int], None] | None = None,
    read: Callable[[Sequence[Exchange]], Features] | None = None,
) -> Features:
    """Features of the exchanges in their order, (n, width) half-precision numbers. `read`: what reads them, by default
    `backbone.read_many`; neighbours are given to it together.

    Every row is kept under the hash of its text and written 512 at a time: a killed run goes on where it stopped, and changed
    data only reads the rows that changed. A damaged file is read anew.
    """
    settings = [backbone_name, backbone.engine.precision, backbone.layers, CONTEXT_TOKENS, WINDOW_TOKENS]
    folder = models.cache_folder() / "states" / _hash(settings)[:16]
    folder.mkdir(parents=True, exist_ok=True)
    wanted: dict[bytes, list[int]] = defaultdict(list)
    for i, exchange in enumerate(exchanges):
        wanted[_hash(exchange).encode()].append(i)
    rows = np.empty((len(exchanges), backbone.width), np.float16)
    for path in sorted(folder.glob("*.npz")):
        for key, row in _kept(path, set(wanted)):
            places = wanted.pop(key)
            rows[places] = row
            if progress is not None:
                progress(len(places))
    missing = sorted(wanted, key=lambda key: wanted[key][0])
    for start in range(0, len(missing), CHUNK):
        keys = missing[start : start + CHUNK]
        found = (read or backbone.read_many)([exchanges[wanted[key][0]] for key in keys])
        _write(folder, np.array(keys, dtype="S32"), found)
        for key, row in zip(keys, found, strict=True):
            rows[wanted[key]] = row
        if progress is not None:
            progress(sum(len(wanted[key]) for key in keys))
    return rows


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:32]


def _kept(path: Path, wanted: set[bytes]) -> list[tuple[bytes, Features]]:
    try:
        with path.open("rb") as raw, np.load(raw) as file:
            keys = file["keys"]
            here = [i for i, key in enumerate(keys) if bytes(key) in wanted]
            if not here:
                return []
            rows = file["rows"]
            if len(rows) != len(keys):
                raise ValueError(f"{len(rows)} rows under {len(keys)} keys")
            first: dict[bytes, Features] = {}
            for i in here:
                first.setdefault(bytes(keys[i]), rows[i])
            return list(first.items())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        path.unlink(missing_ok=True)
        return []


def _write(folder: Path, keys: np.ndarray, rows: Features) -> None:
    handle, aside = tempfile.mkstemp(dir=folder, suffix=".part")
    with os.fdopen(handle, "wb") as file:
        np.savez(file, keys=keys, rows=rows)
    Path(aside).replace(Path(aside).with_suffix(".npz"))
