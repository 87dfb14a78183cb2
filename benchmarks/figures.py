"""Figures of a benchmark: medians with their range, targets with their outcomes, tables in Markdown.

Knows arithmetic and wording. Does not know what was measured.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

UNITS = {
    "×": ("{:.2f}", "×"),
    "%": ("{:.1%}", ""),
    "GB": ("{:.2f}", " GB"),
    "s": ("{:.2f}", " s"),
    "ms": ("{:.1f}", " ms"),
    "tokens/s": ("{:.0f}", " tokens/s"),
}
"""How a number of a unit is written, and what follows the number."""


@dataclass(frozen=True)
class Spread:
    """The same thing measured several times, in order."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("nothing was measured")

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def shown(self, unit: str) -> str:
        """Median, and the range where there is one: "3.10× [2.90, 3.40]". `unit`: a key of `UNITS`."""
        number, after = UNITS[unit]
        median = number.format(self.median) + after
        if len(self.values) == 1:
            return median
        return f"{median} [{number.format(min(self.values))}, {number.format(max(self.values))}]"


def spread(values: Sequence[float]) -> Spread:
    return Spread(tuple(values))


def ratio(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Round by round, so that what slows a whole round slows both. Raises ValueError where the rounds are not the same."""
    return spread([a / b for a, b in zip(above, below, strict=True)])


@dataclass(frozen=True)
class Target:
    """`sign`: "≥" or "≤"; `value` in `unit`, a share of one where that is "%"."""

    sign: str
    value: float
    unit: str

    def __str__(self) -> str:
        number = f"{self.value * 100:g}" if self.unit == "%" else f"{self.value:g}"
        return f"{self.sign} {number}{' ' if self.unit.isalpha() else ''}{self.unit}"

    def outcome(self, figure: Spread) -> str:
        """By the median; where not every round says the same, it says so."""
        met = [self._met(value) for value in figure.values]
        if self._met(figure.median):
            return "met" if all(met) else f"met, in {sum(met)} of {len(met)} rounds"
        return f"missed, met in {sum(met)} of {len(met)} rounds" if any(met) else "missed"

    def _met(self, value: float) -> bool:
        return value >= self.value if self.sign == "≥" else value <= self.value


@dataclass(frozen=True)
class Row:
    """A line of the table. `figure` None: it was not measured, and `why` says what would change that. `ours`, `theirs`: what the
    figure is made of.
    """

    what: str
    against: str
    figure: Spread | None
    unit: str = "×"
    target: Target | None = None
    ours: str = ""
    theirs: str = ""
    why: str = ""

    def cells(self) -> list[str]:
        target = str(self.target) if self.target else "-"
        if self.figure is None:
            return [self.what, self.against, target, "-", f"not measured: {self.why}", self.ours, self.theirs, "0"]
        outcome = self.target.outcome(self.figure) if self.target else "reported"
        n = str(len(self.figure.values))
        return [self.what, self.against, target, self.figure.shown(self.unit), outcome, self.ours, self.theirs, n]


HEADINGS = ("what", "against", "target", "figure", "outcome", "ours", "theirs", "n")


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; a bar within a cell is escaped."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def rounds(works: Mapping[str, Callable[[], Any]], n: int, tick: Callable[[str], None]) -> dict[str, list[Any]]:
    """What each of the works gives in each of `n` rounds, after one that is not counted.

    The works take turns, every other round the other way about, so that a machine that grows slower, or is busy for a while, is as
    unkind to each. `tick` hears the name of each before it begins.
    """
    found: dict[str, list[Any]] = {name: [] for name in works}
    for number in range(n + 1):
        for name in list(works) if number % 2 else reversed(list(works)):
            tick(name)
            given = works[name]()
            if number:
                found[name].append(given)
    return found
