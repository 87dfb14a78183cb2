"""What a run was made with: versions, settings, and checksums of the data. Runs of the same facts have the same rows.

Knows where versions and data lie. Does not know suites.
"""

import hashlib
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from classifiers.second_judge import SecondJudge
from data import ROOT
from service.suites.run import Run

OF_A_SERVER = frozenset({"host", "port", "max_body_bytes", "max_messages", "max_queue", "max_screen_items"})
"""Settings on which no reply depends."""


NO_CASES = frozenset({"models", "policy", "LOG", "__init__", "__pycache__"})
"""What lies with the data and holds no case: weights and policy have versions of their own."""


def facts_of(run: Run) -> dict[str, Any]:
    """The facts of a run as JSON. `index`: the generation, or "sample", whose text is then hashed with the data; `datasets`:
    checksums of the public sets, None where no folder of them was named; `files`: of the user's own, with their `split`. Loads the
    corridor.
    """
    corridor = run.corridor
    settings = run.settings.model_dump(mode="json", exclude={*OF_A_SERVER, "policy", "index"})
    shipped = (place for place in sorted(ROOT.iterdir()) if place.stem not in NO_CASES)
    return {
        "winnow": version("winnow"),
        "model": run.model.name,
        "endpoint": run.model.url,
        "safety": corridor.safety.version,
        "support": corridor.support.version if corridor.support else None,
        "quality": corridor.quality.version if corridor.quality else None,
        "judge": SecondJudge.load().version,
        "policy": f"{corridor.policy.preset} {corridor.policy.fingerprint}",
        "index": corridor.index.generation if run.settings.index else "sample",
        "seed": run.seed,
        "quick": run.quick,
        "settings": settings,
        "data": _checksums(shipped),
        "datasets": _checksums(sorted(run.datasets.iterdir())) if run.datasets else None,
        "files": [_checksum(file) for file in run.files],
        "split": run.split,
        "questions": run.questions,
    }


def differing(facts: dict[str, Any], others: dict[str, Any]) -> list[str]:
    """The names of the facts that differ, those inside another as "data.pools"."""
    found = []
    for name in sorted({*facts, *others}):
        one, other = facts.get(name), others.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            found += [f"{name}.{inner}" for inner in differing(one, other)]
        elif one != other:
            found.append(name)
    return found


def value_at(facts: dict[str, Any], name: str) -> Any:
    """The fact of a name that `differing` gave; None where it lacks."""
    found: Any = facts
    for part in name.split(".", 1):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _checksums(places: Iterable[Path]) -> dict[str, str]:
    return {place.stem: _checksum(place) for place in places}


def _checksum(place: Path) -> str:
    """SHA-256 over the names and the content of a file, or of all files of a folder; hidden ones and compiled code are left out."""
    digest = hashlib.sha256()
    for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
        parts = path.relative_to(place.parent).parts
        if path.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in parts):
            digest.update(f"{'/'.join(parts)}\0{path.stat().st_size}\0".encode("utf-8", "surrogateescape"))
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
