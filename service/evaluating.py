"""The offline evaluation: suites over one run, each row written as soon as it is known, then figures, a summary and a report.

Knows the order of things. What is measured is the suites' own; the folder is `run_folder.py`.
"""

import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from service.console import Progress
from service.headline import headline
from service.report import write_report
from service.run_folder import RESULTS, RUN, RunFolder
from service.suites import SUITES, load
from service.suites.base import Figure, Row, Suite, measured
from service.suites.facts import facts_of
from service.suites.rows import RowFile
from service.suites.run import Run, Unavailable
from service.suites.sheets import SHEET, labelled_by_people, sheet_lines
from service.summary import summary

Results = dict[str, Any]
T = TypeVar("T")

FAILURE = "failure.txt"
OWN = ("service", "classifiers", "retrieval")


class SuiteFailed(RuntimeError):
    """A suite stopped with an error. The message says which, and where more is to be read; it quotes no reply (law 7)."""


def evaluate(names: Sequence[str], run: Run, folder: RunFolder, command: str, progress: Progress) -> Results:
    """Runs the suites of these names, in the order of the registry; what was stopped goes on. Returns what `results.json` holds:

        {"command", "run": the facts, "headline": [...], "suites": {name: {"title", "n", "seconds", "figures": [...]}}}

    A suite that is not available here has {"title", "unavailable": reason} instead. Suites that an earlier go into this folder
    brought to their end stay in the results. Raises `SuiteFailed`, all rows kept; ValueError for an unknown suite, or for a folder
    of another run.
    """
    suites = [load(name) for name in sorted(set(names), key=_place)]
    with folder.held():
        folder.begin(facts_of(run))
        earlier = folder.results
        entries: Results = earlier["suites"] if earlier else {}
        rows: dict[str, list[Row]] = {
            name: labelled_by_people(name, folder.rows(name).values(), folder.path)
            for name, entry in entries.items()
            if name not in names and "figures" in entry
        }
        for suite in suites:
            try:
                judged = _judged(suite, run, folder, progress)
                if suite.name == "live":
                    folder.write(SHEET, sheet_lines(judged, run.seed))
                rows[suite.name] = labelled_by_people(suite.name, judged, folder.path)
                figures = _figures(suite, rows[suite.name], run, folder, progress)
            except Unavailable as reason:
                entries[suite.name] = {"title": suite.title, "unavailable": str(reason)}
                continue
            entries[suite.name] = {
                "title": suite.title,
                "n": len(rows[suite.name]),
                "seconds": round(folder.seconds.get(suite.name, 0.0), 2),
                "figures": [asdict(figure) for figure in figures],
            }
        ordered = {name: entries[name] for name in sorted(entries, key=_place)}
        results = {"command": command, "run": folder.read(RUN), "headline": headline(ordered), "suites": ordered}
        folder.write(RESULTS, results)
        folder.write("summary.md", summary(results))
        write_report(folder.path, results, rows)
        return results


def _place(name: str) -> int:
    return list(SUITES).index(name) if name in SUITES else len(SUITES)


def _judged(suite: Suite, run: Run, folder: RunFolder, progress: Progress) -> list[Row]:
    """A row for each case, in order. The batches are the same whether or not a run was stopped within one: what else is in a batch
    may change the last digits of a score.
    """
    cases = _guarded(suite, folder, lambda: list(suite.cases(run)))
    ids = [case["id"] for case in cases]
    for id, times in Counter(ids).items():
        if times > 1:
            raise SuiteFailed(f"suite {suite.name}: {times} cases have the id {id!r}")
    kept = folder.rows(suite.name)
    strange = set(kept) - set(ids)
    if strange:
        raise ValueError(
            f"{kept.path} has a row {min(strange)!r}, which is no case of the suite now; name another folder with --output"
        )
    with progress(suite.name, len(cases)) as advance:
        for start in range(0, len(cases), suite.batch):
            batch = cases[start : start + suite.batch]
            if any(case["id"] not in kept for case in batch):
                began = time.perf_counter()
                judged = _guarded(suite, folder, lambda batch=batch: list(suite.judge(batch, run)))  # type: ignore[misc]
                _keep(suite, kept, [case["id"] for case in batch], judged)
                folder.add_seconds(suite.name, time.perf_counter() - began)
            advance(len(batch))
    return [kept[id] for id in ids]


def _keep(suite: Suite, kept: RowFile, ids: Sequence[str], judged: Sequence[Row]) -> None:
    if [row.get("id") for row in judged] != list(ids):
        raise SuiteFailed(f"suite {suite.name}: judge gave rows of other ids than the cases {', '.join(ids[:3])}, ...")
    for row in judged:
        if row["id"] not in kept:
            try:
                kept.add(row)
            except (ValueError, TypeError) as error:
                raise SuiteFailed(f"suite {suite.name}: the row of {row['id']!r} is no JSON: {error}") from error


def _figures(suite: Suite, rows: Sequence[Row], run: Run, folder: RunFolder, progress: Progress) -> list[Figure]:
    def all_of() -> list[Figure]:
        metrics = list(suite.metrics(rows))
        names = Counter(metric.name for metric in metrics)
        if len(names) < len(metrics):
            raise SuiteFailed(f"suite {suite.name}: two metrics are named {names.most_common(1)[0][0]!r}")
        found = []
        with progress(f"{suite.name}: figures", len(metrics)) as advance:
            for metric in metrics:
                found.append(measured(metric, rows, run.seed))
                advance(1)
        return found

    return _guarded(suite, folder, all_of)


def _guarded(suite: Suite, folder: RunFolder, work: Callable[[], T]) -> T:
    """What `work` gives. An error becomes `SuiteFailed`: of Winnow's own kind with its message, any other with its type alone, as its
    message may quote a reply; the whole of it goes into the folder, with the rows.
    """
    try:
        return work()
    except (Unavailable, SuiteFailed):
        raise
    except Exception as error:
        folder.write(FAILURE, "".join(traceback.format_exception(error)))
        last = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__} in {last.name}, line {last.lineno} of {last.filename.rsplit('/', 1)[-1]}"
        if type(error).__module__.partition(".")[0] in OWN:
            what = str(error)
        raise SuiteFailed(f"suite {suite.name} stopped: {what}; more in {folder.path / FAILURE}") from error
