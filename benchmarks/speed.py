"""Speed, as ratios that are measured side by side in one run, with targets and outcomes.

    python benchmarks/speed.py [--quick] [--all] [--only PART] [--repeats 5] [--model NAME] [--out FILE] [--card]

Each figure is the median over rounds, with its range; in a round all that are compared take turns, so that a machine that is busy is as
unkind to each. A whole run takes about twelve minutes on two idle cores and writes `benchmarks/RESULTS.md` and the charts of
`docs/images/`; `--quick` takes two, says less surely, and writes nothing unless told where.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

# As a script it stands in a folder of the package that it is part of.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from transformers.utils.logging import disable_progress_bar

from benchmarks import machine, reply, sampling, searching, starting
from benchmarks.figures import HEADINGS, markdown, spread
from benchmarks.plan import QUICK, Begin, Found, Plan
from classifiers.card import add_benchmark
from classifiers.models import ModelNotFound, resolve
from classifiers.safety import SHIPPED

PARTS: dict[str, Callable[[Plan, Begin], Found]] = {
    "sampling": sampling.part,
    "reply": reply.part,
    "start": starting.start,
    "serve": starting.serve,
    "search": searching.part,
}
RESULTS = machine.ROOT / "benchmarks" / "RESULTS.md"
IMAGES = machine.ROOT / "docs" / "images"
LARGEST = 1_000_000
LEAST = 5
"""Rounds of a run whose results are kept."""
SHARE = "share of time, 16 candidates of 64 tokens: screening by generating (least, most)"
"""The name of a row of the safety classifier's card."""

console = Console(stderr=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 where a part failed, whose rows are missing then and which is named at the end; 2 for options that make no sense."""
    options = _options(arguments)
    disable_progress_bar()
    plan = QUICK if options.quick else Plan()
    plan = replace(plan, model=options.model or plan.model)
    if options.repeats:
        plan = replace(plan, repeats=options.repeats, starts=options.repeats)
    if options.all:
        plan = replace(plan, sizes=(*plan.sizes, LARGEST))
    try:
        resolve(plan.model)
    except ModelNotFound as error:
        console.print(f"error: {error}", style="red")
        return 2
    before = machine.load()
    if before > machine.BUSY:
        console.print(
            f"other work runs on this machine (load {before:.1f} a core): ratios bear it, seconds do not",
            style="yellow",
        )

    found: dict[str, Found] = {}
    failed: dict[str, str] = {}
    with bars() as begin:
        for name in options.only or PARTS:
            try:
                found[name] = PARTS[name](plan, begin)
            except Exception as error:  # the other parts take minutes, and are worth having without this one
                failed[name] = f"{type(error).__name__}: {error}"
                console.print(traceback.format_exc(), style="dim")
    show(found)
    for name, why in failed.items():
        console.print(f"error: {name} failed: {why}", style="red")
    if options.out and not failed:
        options.out.write_text(written(found, machine.described(before), plan, options), encoding="utf-8")
        console.print(f"written: {options.out}")
    if options.images and not failed:
        for path in draw(found, options.images):
            console.print(f"drawn: {path}")
    if options.card and "reply" in found:
        add_benchmark(SHIPPED, card_row(found["reply"].shares))
        console.print(f"into the card: {SHARE}")
    return 1 if failed else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds of less, in two minutes")
    parser.add_argument("--all", action="store_true", help="an index of a million passages too")
    parser.add_argument("--only", action="append", choices=list(PARTS), help="this part; may be given several times")
    parser.add_argument("--repeats", type=int, help="rounds of each part (default: 5; 2 with --quick)")
    parser.add_argument("--model", help="chat model by name or path")
    parser.add_argument("--out", type=Path, help="file for the tables (default of a whole run: benchmarks/RESULTS.md)")
    parser.add_argument("--images", type=Path, help="folder for the charts (default of a whole run: docs/images)")
    parser.add_argument(
        "--card", action="store_true", help="put the share of screening into the safety classifier's card"
    )
    options = parser.parse_args(arguments)
    if options.repeats is not None and options.repeats < 1:
        parser.error(f"--repeats is {options.repeats}; at least 1 round must be run")
    if options.card and options.quick:
        parser.error("--card needs a run without --quick: the card's row is of 64 tokens")
    if options.card and options.only and "reply" not in options.only:
        parser.error("--card needs the part `reply`: add --only reply")
    if not (options.quick or options.only or options.model) and (options.repeats or LEAST) >= LEAST:
        options.out, options.images = options.out or RESULTS, options.images or IMAGES
    for place in (options.out and options.out.parent, options.images):
        if place and not (place.is_dir() and os.access(place, os.W_OK)):
            parser.error(f"{place} is no folder that can be written to")
    return options


@contextmanager
def bars() -> Iterator[Begin]:
    """A progress bar for each thing that is begun."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[at]}", style="dim"),
    )
    with Progress(*columns, console=console) as progress:

        def finish() -> None:
            for each in progress.tasks:
                progress.update(each.id, completed=each.total, at="")
                progress.stop_task(each.id)

        def begin(title: str, steps: int) -> Callable[[str], None]:
            finish()
            task = progress.add_task(title, total=steps, at="")
            begun = count()

            def tick(name: str) -> None:
                progress.update(task, completed=next(begun), at=name)

            return tick

        yield begin
        finish()


def written(
    found: dict[str, Found], machine: Sequence[tuple[str, str]], plan: Plan, options: argparse.Namespace
) -> str:
    """The page of results."""
    command = "make bench" if not sys.argv[1:] else "python benchmarks/speed.py " + " ".join(sys.argv[1:])
    quick = " It was a quick run: fewer rounds of less, not for quoting." if plan.tokens == QUICK.tokens else ""
    rows = [row for each in found.values() for row in each.rows]
    parts = [
        "# Speed\n",
        f"Written by `{command}`. A figure is the median of n rounds, with its range in brackets; ratios are taken round by "
        "round, and what is compared takes turns within a round. The outcome goes by the "
        f"median.{quick}\n",
        markdown(("machine", ""), [list(pair) for pair in machine]),
    ]
    if rows:
        parts.append(markdown(HEADINGS, [row.cells() for row in rows]))
    for each in found.values():
        for table in each.tables:
            parts += [f"## {table.title}\n", markdown(table.headings, table.rows), f"{table.note}\n"]
        if options.images:
            for name, chart in each.charts.items():
                parts.append(f"![{chart.title}]({image_link(options, name)})\n")
    return "\n".join(parts)


def show(found: dict[str, Found]) -> None:
    """The tables on the terminal, the main one without what its figures are made of."""
    main = [row.cells()[:5] for each in found.values() for row in each.rows]
    shown = [("Speed", HEADINGS[:5], main)] if main else []
    shown += [(table.title, table.headings, table.rows) for each in found.values() for table in each.tables]
    for title, headings, rows in shown:
        table = Table(*headings, title=title)
        for cells in rows:
            table.add_row(*map(escape, cells))
        Console().print(table)


def image_link(options: argparse.Namespace, name: str) -> str:
    """From the page to a chart."""
    start = (options.out or RESULTS).resolve().parent
    return Path(os.path.relpath(options.images.resolve() / f"{name}.svg", start)).as_posix()


def draw(found: dict[str, Found], folder: Path) -> list[Path]:
    """The charts as files."""
    drawn = []
    for each in found.values():
        for name, chart in each.charts.items():
            drawn.append(folder / f"{name}.svg")
            drawn[-1].write_text(chart.svg(), encoding="utf-8")
    return drawn


def card_row(shares: Sequence[float]) -> dict[str, object]:
    return {
        "name": SHARE,
        "target": "≤ 5%",
        "value": spread(shares).median,
        "low": min(shares),
        "high": max(shares),
        "n": len(shares),
        "prevalence": None,
        "baseline": "-",
        "command": "python benchmarks/speed.py --only reply --card",
    }


if __name__ == "__main__":
    sys.exit(main())
