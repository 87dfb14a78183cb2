"""Floors and ceilings on the figures of an evaluation, for continuous integration.

Knows results as `evaluating.py` gives them. A gate file:

    [suite."metric name"]
    at_least = 0.93      # and/or at_most, in the units of results.json: a share is between 0 and 1
    bound = "low"        # which end of the 95% interval must hold it; default "value", the figure itself
"""

import math
import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.summary import written

BOUNDS = ("value", "low", "high")


class GateError(ValueError):
    """A gate that cannot be decided; the message names every metric that cannot be looked at, and why."""


@dataclass(frozen=True)
class Floor:
    """What one metric of one suite has to reach or must not exceed."""

    suite: str
    metric: str
    at_least: float | None
    at_most: float | None
    bound: str = "value"


def read_gate(path: Path, suites: Collection[str]) -> list[Floor]:
    """The floors of a file, which may only name those suites. Raises `GateError` naming table and key."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise GateError(f"{path.name}: cannot be read as TOML: {error}") from error
    found = []
    for suite, metrics in tables.items():
        if suite not in suites:
            raise GateError(f"{path.name}: there is no suite {suite!r} in this run; there are: {', '.join(suites)}")
        if not isinstance(metrics, dict):
            raise GateError(f'{path.name}: {suite} is no table; write [{suite}."metric name"]')
        for metric, wishes in metrics.items():
            where = f'{path.name}: [{suite}."{metric}"]'
            if not isinstance(wishes, dict):
                raise GateError(f"{where} is no table")
            found.append(_floor(suite, metric, wishes, where))
    if not found:
        raise GateError(f"{path.name} names no metric, so that nothing would be checked")
    return found


def _floor(suite: str, metric: str, wishes: dict[str, Any], where: str) -> Floor:
    for key, value in wishes.items():
        if key not in ("at_least", "at_most", "bound"):
            raise GateError(f"{where}: {key!r} is unknown; known: at_least, at_most, bound")
        if key == "bound":
            if value not in BOUNDS:
                raise GateError(f"{where}: bound is {value!r}; allowed: {', '.join(BOUNDS)}")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise GateError(f"{where}: {key} is {value!r}, not a number")
    least, most = wishes.get("at_least"), wishes.get("at_most")
    if least is None and most is None:
        raise GateError(f"{where} has neither at_least nor at_most")
    if least is not None and most is not None and least > most:
        raise GateError(f"{where}: at_least {least:g} is above at_most {most:g}")
    return Floor(suite, metric, least, most, wishes.get("bound", "value"))


def failures(floors: Sequence[Floor], suites: dict[str, Any]) -> list[str]:
    """A line for each floor that the figures of these suites (the "suites" of the results) do not hold.

    Raises `GateError` for suites that were not run, and metrics that are not there or are not defined; it names what does not hold too.
    """
    broken, unknown = [], []
    for floor in floors:
        name = f"{floor.suite}, {floor.metric}"
        entry = suites.get(floor.suite)
        if entry is None or "figures" not in entry:
            unknown.append(f"{name}: not run ({entry['unavailable'] if entry else 'the suite was not asked for'})")
            continue
        figures = {figure["name"]: figure for figure in entry["figures"]}
        if floor.metric not in figures:
            unknown.append(f"{name}: no such metric; there are: {', '.join(figures)}")
            continue
        figure = figures[floor.metric]
        value = figure[floor.bound]
        if value is None:
            unknown.append(f"{name}: not defined on these rows (n {figure['n']})")
            continue
        which = "" if floor.bound == "value" else f", the {floor.bound} end of its 95% interval,"
        if floor.at_least is not None and value < floor.at_least:
            least = written(floor.at_least, figure["unit"])
            broken.append(f"{name}{which} is {written(value, figure['unit'])}, under the floor of {least}")
        if floor.at_most is not None and value > floor.at_most:
            most = written(floor.at_most, figure["unit"])
            broken.append(f"{name}{which} is {written(value, figure['unit'])}, over the ceiling of {most}")
    if unknown:
        raise GateError("the gate cannot be decided: " + "; ".join([*unknown, *broken]))
    return broken
