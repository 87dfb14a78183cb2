"""A suite that needs no model, and the registry that holds it for one test."""

import sys
from types import ModuleType

from service.suites import SUITES
from service.suites.base import Metric, mean_of
from service.suites.run import Run
from tests.service.scripted import make_corridor


class TinySuite:
    """`n` cases; the row of a case says whether its own seed is even. `judged`: ids in the order in which they were judged."""

    title = "Is the seed even?"

    def __init__(self, name="tiny", n=7, batch=3):
        self.name, self.n, self.batch = name, n, batch
        self.judged = []

    def cases(self, run):
        return [{"id": f"c{i}", "kind": "odd" if i % 2 else "even"} for i in range(self.n)]

    def judge(self, cases, run):
        self.judged += [case["id"] for case in cases]
        return [{**case, "hit": run.seed_of(case["id"]) % 2 == 0, "text": "a\u2028b\n\ud800é"} for case in cases]

    def metrics(self, rows):
        kinds = sorted({row["kind"] for row in rows})
        return [
            Metric("hits", mean_of(lambda row: row["hit"]), positive=lambda row: row["kind"] == "odd", target="≥ .5"),
            *(Metric(f"hits, {kind}", mean_of(lambda row: row["hit"]), _of_kind(kind)) for kind in kinds),
            Metric("hits, none", mean_of(lambda row: row["hit"]), lambda row: False, beside="hits"),
        ]


def _of_kind(kind):
    return lambda row: row["kind"] == kind


def register(monkeypatch, *suites):
    """The registry holds these suites alone."""
    for name in list(SUITES):
        monkeypatch.delitem(SUITES, name)
    for suite in suites:
        module = ModuleType(f"tiny_{suite.name}")
        module.SUITE = suite
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(SUITES, suite.name, module.__name__)


def tiny_run(seed=0, quick=False, **options):
    """A run over the scripted corridor."""
    corridor = make_corridor()
    return Run(corridor.settings, seed, quick, corridor=corridor, **options)
