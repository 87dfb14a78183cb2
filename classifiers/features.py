"""Features of labelled examples, read once by the backbone and kept on disk, so that training again costs seconds.

Knows chunks and files. Does not know labels: a label may change without anything being read again.
"""

import hashlib
import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from classifiers import models
from classifiers.backbone import CONTEXT_TOKENS, WINDOW_TOKENS, Backbone, Features
from classifiers.labelled import Example

CHUNK = 512


def featurise(
    examples: Sequence[Example],
    backbone: Backbone,
    backbone_name: str,
    progress: Callable[[int], None] | None = None,
) -> Features:
    """Features of the examples in their order, (n, width) half-precision numbers.

    Chunks of 512 examples are written as they are done, each under the hash of its texts: a killed run goes on where it
    stopped, and changed data only re-reads the chunks it changed.
    """
    folder = models.cache_folder() / "features"
    folder.mkdir(parents=True, exist_ok=True)
    settings = [backbone_name, backbone.layers, CONTEXT_TOKENS, WINDOW_TOKENS]
    rows = np.empty((len(examples), backbone.width), np.float16)
    for indices in _chunks(examples):
        part = [(examples[i].context, examples[i].reply, examples[i].role) for i in indices]
        key = hashlib.sha256(json.dumps([settings, part]).encode()).hexdigest()[:32]
        path = folder / f"{key}.npy"
        if path.is_file():
            rows[indices] = np.load(path)
            if progress is not None:
                progress(len(indices))
        else:
            rows[indices] = backbone.read_many(part, progress=progress)
            _write(path, rows[indices])
    return rows


def _chunks(examples: Sequence[Example]) -> list[list[int]]:
    by_source: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i in sorted(range(len(examples)), key=lambda i: examples[i].id):
        by_source[examples[i].source, examples[i].split].append(i)
    return [group[start : start + CHUNK] for group in by_source.values() for start in range(0, len(group), CHUNK)]


def _write(path: Path, rows: Features) -> None:
    handle, aside = tempfile.mkstemp(dir=path.parent, suffix=".part")
    with os.fdopen(handle, "wb") as file:
        np.save(file, rows)
    Path(aside).replace(path)
