"""Results for people to read: `summary.md`, and how a figure is written.

Knows results as `evaluating.py` gives them. Does not know how they came about.
"""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from service.headline import CAVEAT, MODELS

DIGITS = {"area": 3, "score": 3, "count": 0, "seconds": 2, "tokens/s": 1, "MiB": 0}


def summary(results: dict[str, Any]) -> str:
    """Markdown: the headline table, then one a suite."""
    run = results["run"]
    under_test = f"{run['model']}" + (f" at {run['endpoint']}" if run["endpoint"] else "")
    parts = [
        "# Evaluation",
        f"`{results['command']}`: {under_test}, policy {run['policy']}, safety {run['safety']}, seed {run['seed']}"
        + (", quick" if run["quick"] else "")
        + ". Square brackets: 95% intervals by bootstrap.",
    ]
    if results["headline"]:
        parts += ["## Beside LaMDA", _table(HEADLINE, [_headline_row(line) for line in results["headline"]]), CAVEAT]
    for name, suite in results["suites"].items():
        parts.append(f"## {name}\n\n{suite['title']}")
        if "unavailable" in suite:
            parts.append(f"Not run: {suite['unavailable']}.")
            continue
        parts.append(_table(FIGURES, [_figure_row(figure) for figure in suite["figures"]]))
        parts.append(f"{suite['n']} rows, judged in {suite['seconds']:.0f} s.")
    return "\n\n".join(parts) + "\n"


HEADLINE = ("", "Winnow", "n", *MODELS)
CHIEF = 3
"""Figures of a suite that are printed."""
FIGURES = ("metric", "value", "95% interval", "n", "prevalence", "baseline of", "target")


def written(value: float | None, unit: str) -> str:
    """A value in its unit: a share in percent, a difference of shares in points; "n/a" where it is not defined."""
    if value is None:
        return "n/a"
    if unit == "share":
        return f"{100 * value:.1f}%"
    if unit == "points":
        return f"{100 * value:+.1f}"
    number = f"{value:.{DIGITS.get(unit, 3)}f}"
    return number if unit in ("area", "score", "count") else f"{number} {'s' if unit == 'seconds' else unit}"


def interval(low: float | None, high: float | None, unit: str) -> str:
    """Both ends; nothing where there are none."""
    return "" if low is None or high is None else f"[{written(low, unit)}, {written(high, unit)}]"


def _headline_row(line: dict[str, Any]) -> list[str]:
    value = f"{written(line['value'], 'share')} {interval(line['low'], line['high'], 'share')}".strip()
    beside = ["" if line["lamda"][model] is None else written(line["lamda"][model], "share") for model in MODELS]
    return [line["name"], value, str(line["n"]), *beside]


def _figure_row(figure: dict[str, Any]) -> list[str]:
    unit = figure["unit"]
    value = written(figure["value"], unit)
    prevalence = "" if figure["prevalence"] is None else written(figure["prevalence"], "share")
    ends = interval(figure["low"], figure["high"], unit)
    return [figure["name"], value, ends, str(figure["n"]), prevalence, figure["beside"], figure["target"]]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def print_summary(results: dict[str, Any], out: Console) -> None:
    """The headline; a line for each suite with its chief figures; then what was not run and why. All figures are in `summary.md`."""
    if results["headline"]:
        table = Table(title="beside LaMDA (another test set)")
        for at, heading in enumerate(HEADLINE):
            table.add_column(heading, justify="right" if at else "left")
        for line in results["headline"]:
            table.add_row(*map(escape, _headline_row(line)))
        out.print(table)
    suites = results["suites"]
    lines = [
        f"{name}: {'; '.join(map(_short, _chief(suite['figures'])))}"
        for name, suite in suites.items()
        if "figures" in suite
    ]
    lines += [f"{name}: not run: {suite['unavailable']}" for name, suite in suites.items() if "unavailable" in suite]
    for text in lines:
        out.print(text, markup=False, soft_wrap=True)


def _chief(figures: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most three: what is no baseline of another comes first, of that what has a target, then what is no part of another."""
    names = [figure["name"] for figure in figures]

    def rank(figure: dict[str, Any]) -> tuple[bool, bool, bool]:
        part = any(figure["name"].startswith(f"{name}: ") for name in names)
        return bool(figure["beside"]), not figure["target"], part

    return sorted(figures, key=rank)[:CHIEF]


def _short(figure: dict[str, Any]) -> str:
    unit = figure["unit"]
    value = f"{figure['name']} {written(figure['value'], unit)} {interval(figure['low'], figure['high'], unit)}".strip()
    return f"{value} (target {figure['target']})" if figure["target"] else value
