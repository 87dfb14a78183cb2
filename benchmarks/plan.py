"""How much a benchmark measures, and what a part of it gives."""

from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks import load
from benchmarks.charts import Chart
from benchmarks.figures import Row
from classifiers import DEFAULT_MODEL

Begin = Callable[[str, int], Callable[[str], None]]
"""begin(title, steps) -> tick, which hears the name of each step before it begins: a progress bar."""


@dataclass(frozen=True)
class Plan:
    """`counts`: of candidates, at which the speed is measured; `sizes`: of indexes; `clients`: at the same time."""

    model: str = DEFAULT_MODEL
    repeats: int = 5
    candidates: int = 16
    tokens: int = 64
    counts: tuple[int, ...] = (1, 4, 16, 64)
    variants: bool = True
    """Sample with evidence in the prompt too, and with candidates that end at their end marks."""
    passages: int = 20_000
    starts: int = 5
    sizes: tuple[int, ...] = (1_000, 10_000, 100_000)
    queries: int = 100
    clients: tuple[int, ...] = (1, 4, 16, 32)
    requests: int = 8
    """At least so many at each number of clients."""


QUICK = Plan(
    repeats=2,
    tokens=32,
    counts=(1, 16),
    variants=False,
    passages=3_000,
    starts=1,
    sizes=(1_000, 10_000),
    queries=20,
    clients=(1, 4),
    requests=4,
)


@dataclass(frozen=True)
class Table:
    """Beside the main one: `headings` and `rows` of cells, and `note` beneath."""

    title: str
    headings: tuple[str, ...]
    rows: list[list[str]]
    note: str = ""


@dataclass(frozen=True)
class Found:
    """What a part measured. `charts`: by the name of their file."""

    rows: list[Row] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    charts: dict[str, Chart] = field(default_factory=dict)
    shares: list[float] = field(default_factory=list)
    """Of each reply, the time of screening by that of generating."""


def question(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


QUESTIONS = load.QUESTIONS[:5]
