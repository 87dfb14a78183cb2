"""Kills `update_index` at every step and says what was left: a program of its own, because it forks. Run by test_killing.py.

    python -m tests.retrieval.killing FOLDER ENGINE

FOLDER/before and FOLDER/after are the documents, old and new. For each step a child brings a copy of the old index up to date and
kills itself (SIGKILL) just before that step: an opening, making, renaming or removing of anything in the index, an fsync, or a write
to the database. A line of JSON for each: the step, what the index answered from after the kill ("old", "new", "none" or a fault), and
whether the next run made it what an unkilled one makes.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from retrieval import Index, update_index
from retrieval.catalogue import NewCatalogue

_EVENTS = (
    "open",
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "shutil.rmtree",
    "sqlite3.connect",
    "os.listdir",
    "os.scandir",
)


def state(folder: Path) -> Any:
    """All that an index answers from; None where there is none."""
    if not (folder / "manifest.json").exists():
        return None
    index = Index.load(folder)
    hits = [(hit.passage.id, round(hit.score, 6)) for hit in index.search("bees honey tea kenya fish", 50)]
    return [index.engine, index.document_count, [repr(passage) for passage in index.passages], hits]


def child(work: Path, documents: Path, engine: str, step: int | None, seconds: float | None) -> int:
    """Runs the update in a process that ends itself before its `step`-th step or after so many seconds; its wait status."""
    number = os.fork()
    if number:
        return os.waitpid(number, 0)[1]
    counted = [0]

    def tick(*_: object) -> None:
        if counted[0] == step:
            os.kill(os.getpid(), signal.SIGKILL)
        counted[0] += 1

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in _EVENTS and arguments and str(work) in os.fsdecode(str(arguments[0])):
            tick()

    sync, add = os.fsync, NewCatalogue.add

    def synced(descriptor: int) -> None:
        tick()
        sync(descriptor)

    def added(self: NewCatalogue, *arguments: Any) -> None:
        tick()
        add(self, *arguments)

    os.fsync, NewCatalogue.add = synced, added  # type: ignore[method-assign]
    sys.addaudithook(hook)
    if seconds is not None:
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, seconds)
    update_index([documents], work, engine)
    os._exit(0)


def trial(
    base: Path, engine: str, first: bool, step: int | None, seconds: float | None, expected: list[Any]
) -> dict[str, Any]:
    work = base / "work"
    shutil.rmtree(work, ignore_errors=True)
    if not first:
        shutil.copytree(base / "old", work)
    status = child(work, base / "after", engine, step, seconds)
    try:
        found = state(work)
        left = (
            "none" if found is None else "old" if found == expected[0] else "new" if found == expected[1] else "other"
        )
    except Exception as error:
        left = f"{type(error).__name__}: {error}"
    update_index([base / "after"], work, engine)
    entries = sorted(entry.name for entry in work.iterdir() if not entry.name.startswith("g-"))
    mended = state(work) == expected[1] and entries == [".lock", "manifest.json"] and len(list(work.glob("g-*"))) == 1
    return {"first": first, "step": step, "killed": os.WIFSIGNALED(status), "left": left, "mended": mended}


def main() -> None:
    base, engine = Path(sys.argv[1]), sys.argv[2]
    update_index([base / "before"], base / "old", engine)
    update_index([base / "after"], base / "new", engine)
    expected = [state(base / "old"), state(base / "new")]
    for first in (True, False):
        step = 0
        while True:
            row = trial(base, engine, first, step, None, expected)
            print(json.dumps(row), flush=True)
            if not row["killed"]:
                break
            step += 1
    began = time.perf_counter()
    trial(base, engine, False, None, None, expected)
    took = time.perf_counter() - began
    chance = random.Random(0)
    for _ in range(5):
        print(json.dumps(trial(base, engine, False, None, chance.uniform(0.001, took), expected)), flush=True)


if __name__ == "__main__":
    main()
