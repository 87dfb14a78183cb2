"""One run of the offline evaluation: what is under test, with which seed, on how much.

Knows how the parts are loaded, once and only when a suite asks. Does not know suites.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from classifiers import SafetyScorer
from classifiers.labelled import SPLITS, BadExample, Example, read_labelled, without_leaks
from classifiers.public_sets import read_public
from service.chat import Corridor
from service.settings import Settings
from service.suites.behind import Behind
from service.suites.model import LocalModel, Model

QUICK_CANDIDATES = 4


class Unavailable(Exception):
    """A suite that cannot be run here; the message says what would make it possible."""


class Run:
    """What the suites share. `quick`: a few minutes for all of them. `datasets`: folder of the public sets, or None.

    `model`: under test, Winnow's own generator unless an endpoint is named. `files`: labelled exchanges of the user's own, judged
    by `classify`, with the public sets where those are named, and, as pools, by `pick` in place of ours; `split`: only what falls
    into that one. `questions`: how many `ground` asks, by default its own number.
    """

    def __init__(
        self,
        settings: Settings,
        seed: int = 0,
        quick: bool = False,
        datasets: Path | None = None,
        endpoint: Model | None = None,
        corridor: Corridor | None = None,
        files: Sequence[Path] = (),
        split: str | None = None,
        questions: int | None = None,
    ) -> None:
        if split is not None and split not in SPLITS:
            raise ValueError(f"--split is {split!r}; allowed: {', '.join(SPLITS)}")
        self.settings, self.seed, self.quick, self.datasets = settings, seed, quick, datasets
        self._endpoint, self.files, self.split, self.questions = endpoint, tuple(files), split, questions
        if corridor is not None:
            self.__dict__["corridor"] = corridor

    @cached_property
    def corridor(self) -> Corridor:
        """Everything of `assembly.assemble`, loaded at the first use. Raises what it raises."""
        from service.assembly import assemble

        return assemble(self.settings)

    @cached_property
    def exchanges(self) -> list[Example]:
        """Of the files, and of the public sets named with them. Raises `BadExample` naming the line that cannot be used, two files that
        share an id, or files that hold none; FileNotFoundError for a file or a public set that is not there.
        """
        read = [(file, read_labelled(file)) for file in self.files]
        if self.datasets:
            read.append((self.datasets, read_public(self.datasets)))
        found: dict[str, tuple[Path, Example]] = {}
        for file, examples in read:
            for example in examples:
                if example.id in found:
                    first = found[example.id][0]
                    raise BadExample(
                        f"{file}: id {example.id!r} is in {first} too; give each exchange an id of its own"
                    )
                found[example.id] = file, example
        examples = [example for _, example in found.values()]
        if self.split:
            examples = [e for e in without_leaks(examples) if e.split == self.split]
        if not examples:
            of = f" of the {self.split} split" if self.split else ""
            raise BadExample(f"{', '.join(map(str, self.files))}: no labelled exchange{of}")
        return examples

    @property
    def safety(self) -> SafetyScorer:
        """The classifier under test."""
        return self.corridor.safety

    @property
    def model(self) -> Model:
        """Who answers: the endpoint, or the corridor's own generator, which picks from fewer candidates in a quick run."""
        return self._endpoint or LocalModel(self.corridor, QUICK_CANDIDATES if self.quick else None)

    @property
    def unhurried(self) -> Model:
        """Who answers as it would a client, in a quick run too."""
        return self._endpoint or LocalModel(self.corridor)

    @property
    def screened(self) -> Corridor:
        """Winnow before the model under test: the corridor, with the endpoint's replies for candidates where one is named."""
        return replace(self.corridor, generator=Behind(self._endpoint)) if self._endpoint else self.corridor

    @property
    def local(self) -> bool:
        """Whether Winnow's own corridor is under test, and no endpoint."""
        return self._endpoint is None

    def public(self, name: str) -> Path:
        """The folder of a public set. Raises `Unavailable` where it is not there."""
        if self.datasets is None or not (self.datasets / name).exists():
            raise Unavailable(f"needs the set {name!r}: name the folder that holds it with --datasets")
        return self.datasets / name

    def seed_of(self, id: str) -> int:
        """A case's own seed, in [0, 2³¹): the same whichever cases ran before it."""
        return int.from_bytes(hashlib.sha256(f"{self.seed}:{id}".encode()).digest()[:4], "big") % 2**31

    def sample(self, cases: Sequence[Any], whole: int, quick: int) -> list[Any]:
        """At most so many of the cases (with an "id"), the same ones for the same seed, in the order of the data."""
        most = quick if self.quick else whole
        kept = {case["id"] for case in sorted(cases, key=lambda case: self.seed_of(case["id"]))[:most]}
        return [case for case in cases if case["id"] in kept]
