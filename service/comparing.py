"""Two runs of the evaluation side by side: each metric's difference on the rows that both have, with its interval and p.

Knows folders of runs and suites. The resampling is `suites/base.py`.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from service.console import Progress
from service.run_folder import RUN, RunFolder
from service.suites import SUITES, load
from service.suites.base import compared
from service.suites.facts import differing
from service.suites.sheets import labelled_by_people
from service.summary import written

SAME_CASES = ("seed", "quick", "data", "datasets", "files")
"""Facts that decide which cases there are. Everything else is what a comparison is for."""

SIGNIFICANT = 0.05

Comparison = dict[str, Any]


def compare(first: RunFolder, second: RunFolder, anyway: bool, progress: Progress) -> Comparison:
    """{"first": its facts, "second": ..., "differ": names of the facts that do, "suites": {name: [difference with "p_holm", ...]},
    "only_first": [suite, ...], "only_second": [...]}.

    `p_holm`: p times the tests that are left, in the order of p, over all metrics of all suites (Holm, 1979). Raises ValueError where a
    folder holds no finished run, where they have no suite in common, or, unless `anyway`, are not of the same cases.
    """
    sides = []
    for folder in (first, second):
        if not folder.holds_run:
            raise ValueError(f"{folder.path} holds no {RUN}: no run of `winnow eval`")
        results = folder.results
        if results is None:
            raise ValueError(
                f"the run in {folder.path} has not come to its end; go on with: winnow eval --output {folder.path}"
            )
        sides.append((folder.read(RUN), {name for name, entry in results["suites"].items() if "figures" in entry}))
    (facts, ran), (other_facts, other_ran) = sides
    differ = differing(facts, other_facts)
    apart = [name for name in differ if name.partition(".")[0] in SAME_CASES]
    if apart and not anyway:
        raise ValueError(
            f"{first.path} and {second.path} are not of the same cases: {', '.join(apart)} differ; --anyway compares what they share"
        )
    common = [name for name in SUITES if name in ran & other_ran]
    if not common:
        raise ValueError(f"{first.path} and {second.path} have no suite in common")
    suites: dict[str, list[dict[str, Any]]] = {}
    for name in common:
        rows, others = (
            sorted(labelled_by_people(name, folder.rows(name).values(), folder.path), key=lambda row: str(row["id"]))
            for folder in (first, second)
        )
        suite = load(name)
        in_both = {metric.name for metric in suite.metrics(others)}
        metrics = [metric for metric in suite.metrics(rows) if metric.name in in_both]
        suites[name] = []
        with progress(name, len(metrics)) as advance:
            for metric in metrics:
                suites[name].append(asdict(compared(metric, rows, others, facts["seed"])))
                advance(1)
    every = [row for rows in suites.values() for row in rows]
    for row, p in zip(every, holm([row["p"] for row in every]), strict=True):
        row["p_holm"] = p
    return {
        "first": facts,
        "second": other_facts,
        "differ": differ,
        "suites": suites,
        "only_first": sorted(ran - other_ran),
        "only_second": sorted(other_ran - ran),
    }


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Each p, times the number of those that are not smaller, at most 1 and never less than a smaller p's (Holm, 1979). None stays
    None and counts for nothing.
    """
    order = sorted((p, at) for at, p in enumerate(ps) if p is not None)
    found: list[float | None] = [None] * len(ps)
    most = 0.0
    for rank, (p, at) in enumerate(order):
        most = max(most, min(1.0, p * (len(order) - rank)))
        found[at] = most
    return found


def print_comparison(comparison: Comparison, out: Console) -> None:
    """A table a suite; "better" or "worse" stands where a difference has one and is significant after Holm's correction."""
    named = ("model", "endpoint", "policy", "safety", "support", "index", "winnow")
    for name in (name for name in named if name in comparison["differ"]):
        out.print(f"{name}: {comparison['first'].get(name)} → {comparison['second'].get(name)}", markup=False)
    for name, rows in comparison["suites"].items():
        table = Table(title=f"{name} (differences on common rows; 95% intervals; p after Holm)")
        for heading in ("metric", "first", "second", "difference", "p", "", "n"):
            table.add_column(heading, justify="left" if heading in ("metric", "") else "right")
        for row in rows:
            table.add_row(escape(row["name"]), *_cells(row))
        out.print(table)
    for key, which in (("only_first", "first"), ("only_second", "second")):
        if comparison[key]:
            out.print(f"only in the {which} run: {', '.join(comparison[key])}", markup=False)


def _cells(row: dict[str, Any]) -> list[str]:
    unit, p = row["unit"], row["p_holm"]
    difference = "n/a" if row["difference"] is None else _signed(row["difference"], unit)
    if row["low"] is not None:
        difference += f" [dim]{_signed(row['low'], unit)} to {_signed(row['high'], unit)}[/]"
    verdict = ""
    if p is not None and p < SIGNIFICANT and row["better"]:
        verdict = "better" if (row["difference"] > 0) == (row["better"] == "higher") else "worse"
    left_out = row["only_first"] + row["only_second"]
    n = f"{row['n']}" + (f" ({left_out} left out)" if left_out else "")
    shown = "n/a" if p is None else f"{p:.3f}"
    return [written(row["first"], unit), written(row["second"], unit), difference, shown, verdict, n]


def _signed(value: float, unit: str) -> str:
    return f"{'+' if value >= 0 else '-'}{written(abs(value), unit).lstrip('+')}"
