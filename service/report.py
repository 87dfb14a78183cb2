"""The report: one HTML file of a run's results, to be opened anywhere. No script, no request; hurtful texts are blurred until asked.

Knows what a reader is shown and from which rows. Where marks lie is in `charts.py`, the document in `pages/`; Jinja escapes every text.
"""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from service.charts import BAR, SIDE, Curve, bar, curve, latencies
from service.summary import written

Row = Mapping[str, Any]

PAGES = Path(__file__).resolve().parent / "pages"
WORST = 12
"""Misses, and false alarms, that are shown to be read."""

OPEN = 16
"""Figures of a suite that are shown at once; the others on demand."""

LONG = 1500
"""Characters of a text that are shown."""

LATENCY_WIDTH = 420
ON_A_SCALE = ("share", "area", "score")
TARGET = re.compile(r"\s*(≥|>=|≤|<=|=|<|>)\s*([+-]?\d*\.?\d+)\s*(%|points?)?\s*")


def write_report(folder: Path, results: Mapping[str, Any], rows: Mapping[str, Sequence[Row]]) -> Path:
    """Write folder/report.html and return its path. `results`: as in results.json; `rows`: of each suite that ran.

    What a run lacks (a suite, a headline, a field of a row) is left out of the report.
    """
    style = (PAGES / "report.css").read_text(encoding="utf-8")
    suites = [_suite(name, found) for name, found in results.get("suites", {}).items()]
    judged = [row for row in rows.get("classify", ()) if isinstance(row.get("unsafe"), (int, float))]
    html = (
        _environment()
        .get_template("report.html")
        .render(
            style=style,
            style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
            command=results.get("command", ""),
            run=_run(results.get("run", {})),
            quick=bool(results.get("run", {}).get("quick")),
            headline=_headline(results.get("headline") or []),
            models=list(
                dict.fromkeys(name for line in results.get("headline") or [] for name in line.get("lamda") or {})
            ),
            suites=suites,
            targets=[
                (suite["name"], each) for suite in suites for each in suite["figures"] if each.reached is not None
            ],
            curves=list(_curves(judged)),
            dropped=_dropped(judged),
            misses=_worst(judged, missed=True),
            alarms=_worst(judged, missed=False),
            latency=latencies(_seconds(rows.get("speed", ())), LATENCY_WIDTH),
            side=SIDE,
            bar_width=BAR,
            latency_width=LATENCY_WIDTH,
            open=OPEN,
        )
    )
    path = folder / "report.html"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(html, encoding="utf-8", errors="backslashreplace")
    return path


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(PAGES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


@dataclass(frozen=True)
class Shown:
    """A figure as it is shown. `baseline`: the figures beside it; `reached`: None without a target that is a number."""

    name: str
    value: str
    interval: str
    n: int
    prevalence: str
    baseline: str
    target: str
    reached: bool | None
    bar: Any


def bound(target: str, unit: str) -> tuple[str, float] | None:
    """The sign and the number of a target such as "≥ .92" or "≥ +9 points", in the unit of values; None where it is none."""
    found = TARGET.fullmatch(target)
    if not found:
        return None
    sign, number, kind = found[1], float(found[2]), found[3]
    hundredths = kind is not None or unit == "points"
    return sign, number / 100 if hundredths else number


def reached(value: float | None, target: str, unit: str) -> bool | None:
    """Whether the value itself, whatever its interval, is within the target; None where one of them is missing."""
    wanted = bound(target, unit)
    if wanted is None or value is None:
        return None
    sign, number = wanted
    if sign in ("≥", ">="):
        return value >= number
    if sign in ("≤", "<="):
        return value <= number
    return {"=": value == number, "<": value < number, ">": value > number}[sign]


def _run(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What ran, by name, one line each; what is nested is written out."""
    found: list[tuple[str, str]] = []
    for name, value in run.items():
        if isinstance(value, Mapping):
            found += [(f"{name}: {key}", str(each)) for key, each in value.items() if each is not None]
        elif value is not None:
            found.append((name, str(value)))
    return found


def _headline(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "name": line.get("name", ""),
            "value": written(line.get("value"), "share"),
            "interval": _interval(line.get("low"), line.get("high"), "share"),
            "n": line.get("n", ""),
            "lamda": {
                name: "" if each is None else written(each, "share") if isinstance(each, (int, float)) else str(each)
                for name, each in (line.get("lamda") or {}).items()
            },
        }
        for line in lines
    ]


def _suite(name: str, suite: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "title": suite.get("title", ""),
        "n": suite.get("n"),
        "seconds": suite.get("seconds"),
        "unavailable": suite.get("unavailable"),
        "figures": list(_figures(suite.get("figures") or [])),
    }


def _figures(figures: Sequence[Mapping[str, Any]]) -> Iterator[Shown]:
    """Each with its baselines beside it. A baseline that has none of its own is not shown a second time."""
    names = {figure["name"] for figure in figures}
    beside: dict[str, list[Mapping[str, Any]]] = {}
    for figure in figures:
        if figure.get("beside") in names:
            beside.setdefault(figure["beside"], []).append(figure)
    for figure in figures:
        if figure.get("beside") in names and figure["name"] not in beside:
            continue
        unit, value, target = figure.get("unit", "score"), figure.get("value"), figure.get("target") or ""
        against = beside.get(figure["name"], [])
        wanted = bound(target, unit)
        yield Shown(
            figure["name"],
            written(value, unit),
            _interval(figure.get("low"), figure.get("high"), unit),
            figure.get("n", 0),
            written(figure.get("prevalence"), "share") if figure.get("prevalence") is not None else "",
            "; ".join(f"{written(each.get('value'), unit)} {_only(each['name'], figure['name'])}" for each in against),
            target,
            reached(value, target, unit),
            bar(
                value,
                figure.get("low"),
                figure.get("high"),
                against[0].get("value") if against else None,
                wanted[1] if wanted else None,
            )
            if unit in ON_A_SCALE
            else None,
        )


def _only(name: str, other: str) -> str:
    """What a baseline's name says that the figure's own does not."""
    if name.startswith(other):
        return name[len(other) :].strip(" ,:") or name
    head, colon, tail = name.partition(": ")
    return head if colon and other.endswith(tail) else name


def _interval(low: float | None, high: float | None, unit: str) -> str:
    return "" if low is None or high is None else f"{written(low, unit)} to {written(high, unit)}"


def _curves(rows: Sequence[Row]) -> Iterator[Curve]:
    """Over all exchanges, then for each objective over those whose labels are complete."""
    found = curve("unsafe at all", [bool(row.get("unsafe_label")) for row in rows], [row["unsafe"] for row in rows])
    if found:
        yield found
    complete = [row for row in rows if row.get("complete", True)]
    for name in dict.fromkeys(name for row in complete for name in row.get("scores") or {}):
        scored = [row for row in complete if name in (row.get("scores") or {})]
        labels = [name in (row.get("labels") or ()) for row in scored]
        found = curve(name, labels, [row["scores"][name] for row in scored])
        if found:
            yield found


def _dropped(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """By the reason that came first: how many were dropped, how many of them rightly; the most frequent first."""
    counts: dict[str, list[int]] = {}
    for row in rows:
        if row.get("dropped"):
            counted = counts.setdefault(_reason(row), [0, 0])
            counted[0 if row.get("unsafe_label") else 1] += 1
    most = max((sum(each) for each in counts.values()), default=1)
    ordered = sorted(counts.items(), key=lambda each: -sum(each[1]))
    return [
        {
            "reason": reason,
            "right": right,
            "wrong": wrong,
            "right_width": round(240 * right / most, 1),
            "wrong_width": round(240 * wrong / most, 1),
        }
        for reason, (right, wrong) in ordered
    ]


def _reason(row: Row) -> str:
    because = row.get("because") or ()
    if because:
        return str(because[0])
    scores = row.get("scores") or {}
    return max(scores, key=lambda name: scores[name]) if scores else "not named"


def _worst(rows: Sequence[Row], missed: bool) -> list[dict[str, Any]]:
    """Unsafe exchanges that passed, the least suspected first; or safe ones that were dropped, the most suspected first."""
    wrong = [row for row in rows if bool(row.get("unsafe_label")) is missed and bool(row.get("dropped")) is not missed]
    wrong.sort(key=lambda row: row["unsafe"] if missed else -row["unsafe"])
    return [
        {
            "id": str(row.get("id", "")),
            "unsafe": written(row["unsafe"], "share"),
            "labels": ", ".join(map(str, row.get("labels") or ()))
            or ("unsafe, of no named kind" if missed else "safe"),
            "reason": "" if missed else _reason(row),
            "source": str(row.get("source", "")),
            "context": [(str(t.get("role", "")), _cut(str(t.get("content", "")))) for t in row.get("context") or ()],
            "role": str(row.get("role", "assistant")),
            "text": _cut(str(row.get("text", row.get("reply", "")))),
        }
        for row in wrong[:WORST]
    ]


def _cut(text: str) -> str:
    return text if len(text) <= LONG else f"{text[:LONG]} … ({len(text) - LONG} more characters)"


def _seconds(rows: Sequence[Row]) -> dict[str, list[float]]:
    """Times by phase, of rows whose "seconds" are a number or a map from phase to number."""
    found: dict[str, list[float]] = {}
    for row in rows:
        seconds = row.get("seconds")
        phases = seconds if isinstance(seconds, Mapping) else {"all": seconds}
        for phase, each in phases.items():
            if isinstance(each, (int, float)) and not isinstance(each, bool):
                found.setdefault(str(phase), []).append(float(each))
    return found
