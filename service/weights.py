"""Whether the weight files in use are still what they were when they were loaded.

Knows folders with checksums. Does not know what the weights are for; those in memory are copies and stay as they are.
"""

import threading
from collections.abc import Collection
from pathlib import Path

from classifiers import DamagedWeights
from classifiers.models import stamp, verify_checksums

Stamp = list[tuple[str, int, int, int]]


class Weights:
    """Folders of weights, each with its checksums. A folder is read anew only after a file of it has changed."""

    def __init__(self, folders: Collection[Path]) -> None:
        """Expects that they were verified when they were loaded."""
        self._seen: dict[Path, Stamp | None] = {folder: stamp(folder) for folder in folders}
        self._faults: dict[Path, str] = {}
        self._lock = threading.Lock()

    def watch(self, folders: Collection[Path]) -> None:
        """From now on these folders and no others; those that are new were verified when they were loaded."""
        with self._lock:
            if set(folders) != set(self._seen):
                self._seen = {
                    folder: self._seen[folder] if folder in self._seen else stamp(folder) for folder in folders
                }
                self._faults = {folder: fault for folder, fault in self._faults.items() if folder in self._seen}

    def faults(self) -> list[str]:
        """What is amiss on the disk, a line for each damaged folder. Takes as long as hashing a folder where one has changed."""
        with self._lock:
            for folder, seen in self._seen.items():
                found = stamp(folder)
                if found != seen or found is None:
                    self._seen[folder] = found
                    self._look(folder)
            return list(self._faults.values())

    def _look(self, folder: Path) -> None:
        try:
            verify_checksums(folder)
        except (DamagedWeights, OSError) as error:
            self._faults[folder] = f"weights were damaged after they were loaded: {error}"
        else:
            self._faults.pop(folder, None)
