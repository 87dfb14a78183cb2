"""Neutral sentences and the identity terms that take one another's place in them.

Knows how they are written down. They are taught in `swapping.py`; what is made of them in an evaluation is `service/suites/bias.py`.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Swaps:
    """Neutral sentences, each with `{term}` in it once, and the terms that take its place."""

    terms: tuple[str, ...]
    sentences: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> "Swaps":
        """From a TOML file with `terms` and `sentences`. Raises ValueError naming what is wrong."""
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        terms, sentences = _texts(found, "terms", path), _texts(found, "sentences", path)
        for sentence in sentences:
            if sentence.count("{term}") != 1:
                raise ValueError(f"{path.name}: {sentence!r} must have {{term}} in it once")
        if len(terms) < 2 or not sentences or len(set(terms)) < len(terms):
            raise ValueError(f"{path.name}: needs sentences, and terms that differ")
        return cls(terms, sentences)


def _texts(found: dict[str, object], key: str, path: Path) -> tuple[str, ...]:
    value = found.get(key, [])
    if not isinstance(value, list) or not all(isinstance(text, str) and text for text in value):
        raise ValueError(f"{path.name}: {key} must be a list of texts")
    return tuple(value)
