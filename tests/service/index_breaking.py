"""Damages the files of an index in place, under a server that reads them: a program of its own, because it forks, and because the
system kills (SIGBUS) who reads where a mapped file has lost its pages. Run by test_surviving_faults.py.

    python -m tests.service.index_breaking FOLDER TRIALS

For each trial a child serves, spoils one file and asks on. A line of JSON for each: the file, the kinds of the answers, how much in
them was unscreened, the signal that ended the child, and whether a server would start with what is left.
"""

import json
import os
import random
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

from fastapi.testclient import TestClient

from retrieval import DamagedIndex, Index
from service.app import create_app
from tests.service.answers import HOW
from tests.service.canaries import Canaries
from tests.service.scripted import ASKS_KENYA, DOCUMENTS, make_corridor

ASKED = 6


def serve(folder: Path, seed: int, told: Path) -> None:
    """In the child: tells of each answer as it comes."""
    chance, canaries = random.Random(seed), Canaries(str(seed))
    corridor = make_corridor(canaries.says, canaries.scores, index=Index.load(folder))
    corridor = replace(corridor, settings=corridor.settings.model_copy(update={"index": folder}))
    with (
        TestClient(create_app(corridor), raise_server_exceptions=False) as made,
        told.open("w", encoding="utf-8") as out,
    ):
        for number in range(ASKED):
            if number == 1:
                print(spoil(folder, chance), file=out, flush=True)
            body = {"messages": ASKS_KENYA, "candidates": 4, "explain": True, **HOW[number % len(HOW)]}
            print(json.dumps(canaries.check(made.post("/v1/chat/completions", json=body))), file=out, flush=True)


def spoil(folder: Path, chance: random.Random) -> str:
    """Cuts one file off, or overwrites a part of it; its name."""
    file = chance.choice(sorted(file for file in folder.rglob("*") if file.stat().st_size and file.is_file()))
    size = file.stat().st_size
    with file.open("r+b") as content:
        if chance.random() < 0.6:
            content.truncate(chance.choice([0, chance.randrange(size)]))
        else:
            content.seek(chance.randrange(size))
            content.write(chance.randbytes(100))
    return file.name


def main() -> None:
    folder, trials = Path(sys.argv[1]), int(sys.argv[2])
    for trial in range(trials):
        place, told = folder / f"{trial}", folder / f"{trial}.told"
        Index.build(DOCUMENTS, engine=("rank-bm25", "bm25s")[trial % 2]).save(place)
        child = os.fork()
        if not child:
            serve(place, trial, told)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        first, name, *rest = told.read_text(encoding="utf-8").splitlines()
        answers = [json.loads(line) for line in (first, *rest)]
        try:
            Index.load(place)
            starts = True
        except (DamagedIndex, OSError):
            starts = False
        row = {"file": name, "kinds": Counter(kind for kind, _ in answers), "unscreened": sum(n for _, n in answers)}
        print(json.dumps({**row, "signal": status & 0x7F, "exit": status >> 8, "starts": starts}), flush=True)


if __name__ == "__main__":
    main()
