"""How the time of a query grows with the passages of an index."""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.charts import Chart, Line
from benchmarks.figures import spread
from benchmarks.plan import Begin, Found, Plan, Table
from benchmarks.retrieval_speed import K, asked, build, made_up, questions
from retrieval import Index


def part(plan: Plan, begin: Begin) -> Found:
    """Beside rank-bm25 and bm25s it is measured by `retrieval_speed.py`."""
    tick = begin("searching", len(plan.sizes))
    rows, points = [], []
    for size in plan.sizes:
        tick(f"{size:,} passages")
        passages = made_up(size)
        queries = questions(passages, plan.queries)
        with tempfile.TemporaryDirectory() as folder:
            build(passages, Path(folder) / "ix")
            index = Index.load(Path(folder) / "ix")
            times = [seconds * 1000 for seconds in asked(lambda query, index=index: index.search(query, K), queries)]  # type: ignore[misc]
            engine = index.engine
        low, late = (float(np.percentile(times, p)) for p in (5, 95))
        rows.append([f"{size:,}", engine, f"{spread(times).median:.2f} ms", f"{late:.2f} ms"])
        points.append((float(size), spread(times).median, low, late))
    title = "A query by passages of the index"
    note = f"n = {plan.queries} queries of five words at each size, made-up passages; the chart's bars are percentiles 5 to 95."
    return Found(
        tables=[Table(title, ("passages", "engine", "median", "95th percentile"), rows, note)],
        charts={
            "growth-passages": Chart(
                "A query by passages", "passages", "milliseconds", (Line("Winnow", tuple(points)),)
            )
        },
    )
