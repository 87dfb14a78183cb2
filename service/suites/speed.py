"""speed: how long whole replies take, phase by phase, how fast tokens come, and what a start costs in seconds and memory.

Knows clocks. Its figures are the machine's as much as Winnow's, and differ from run to run. An endpoint tells only how long a whole
reply took.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np

from data import PROMPTS
from service.generator import Message
from service.settings import Settings
from service.suites.asking import QUESTIONS, read_questions
from service.suites.base import Metric, Row, mean_of
from service.suites.model import Answer
from service.suites.run import Run

WHOLE, QUICK = 4, 2
"""Replies; half of them to questions that the sample corpus may answer, half to everyday prompts."""
PHASES = ("generate", "screen", "rank", "ground")
QUANTILES = {"P50": 0.5, "P95": 0.95, "P99": 0.99}
START = "start"
LONGEST_START = 600.0

STARTING = "service.suites.starting"


class Speed:
    """The suite. `start`: seconds from nothing to ready, and MiB of a fresh process of the settings."""

    name = "speed"
    title = "How long does a reply take, and what does the start cost?"
    batch = 1

    def __init__(self, start: Callable[[Settings], tuple[float, float]] | None = None) -> None:
        self._start = start or cold_start
        self._warm: Run | None = None

    def cases(self, run: Run) -> Sequence[Row]:
        asked: list[Row] = [
            {"id": question.id, "messages": [dict(message) for message in question.messages]}
            for question in read_questions(QUESTIONS)
        ]
        lines = (PROMPTS / "red-team.jsonl").read_text(encoding="utf-8").splitlines()
        everyday = [row for row in map(json.loads, lines) if row["kind"] == "benign"]
        half = [run.sample(kind, WHOLE // 2, QUICK // 2) for kind in (asked, everyday)]
        replies = [{"id": case["id"], "messages": case["messages"]} for kind in half for case in kind]
        return replies if run.screened is not run.corridor else [*replies, {"id": START}]

    def judge(self, cases: Sequence[Row], run: Run) -> Sequence[Row]:
        return [self._started(run) if case["id"] == START else self._replied(case, run) for case in cases]

    def _started(self, run: Run) -> Row:
        seconds, memory = self._start(run.settings)
        return {"id": START, "seconds": {"cold start": seconds}, "mib": memory}

    def _replied(self, case: Row, run: Run) -> Row:
        messages: list[Message] = case["messages"]
        if self._warm is not run:  # the first reply of a process pays for much that the others do not
            run.unhurried.answer(messages, 4, 0, grounding="cite")
            self._warm = run
        answer = run.unhurried.answer(messages, run.settings.max_tokens, run.seed_of(case["id"]), grounding="cite")
        return {
            "id": case["id"],
            "seconds": {"whole reply": answer.seconds, **_phases(answer)},
            "tokens": _tokens(answer),
        }

    def metrics(self, rows: Sequence[Row]) -> Sequence[Metric]:
        found = []
        for phase in ("whole reply", *PHASES):
            for name, quantile in QUANTILES.items():
                found.append(
                    Metric(
                        f"{phase}, {name}", _quantile(phase, quantile), _timed(phase), unit="seconds", better="lower"
                    )
                )
        return [
            *found,
            Metric("tokens sampled a second", _speed, _timed("generate"), unit="tokens/s"),
            Metric("screening, share of the reply", _share_of_screening, _timed("screen"), better="lower"),
            Metric("screening by sampling", _screening_by_sampling, _timed("screen"), better="lower", target="≤ 10%"),
            Metric(
                "cold start",
                mean_of(lambda row: row["seconds"]["cold start"]),
                _timed("cold start"),
                unit="seconds",
                better="lower",
            ),
            Metric(
                "peak resident memory",
                mean_of(lambda row: row.get("mib")),
                lambda row: "mib" in row,
                unit="MiB",
                better="lower",
            ),
        ]


def cold_start(settings: Settings) -> tuple[float, float]:
    """Seconds until a fresh process has imported and assembled everything, weights read and checked; and its peak of resident memory,
    in MiB, after it has sampled once. Raises RuntimeError with the process's last words where it fails.
    """
    begun = time.perf_counter()
    with (
        tempfile.TemporaryFile("w+") as complaints,
        subprocess.Popen(
            [sys.executable, "-m", STARTING],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        limit = threading.Timer(LONGEST_START, process.kill)
        limit.start()
        with suppress(BrokenPipeError):  # it died at once; what it said tells why
            process.stdin.write(settings.model_dump_json() + "\n")
            process.stdin.flush()
        said = process.stdout.readline().strip()
        seconds = time.perf_counter() - begun
        peak = process.stdout.read()
        process.wait()
        limit.cancel()
        complaints.seek(0)
        last = [line for line in complaints.read().splitlines() if line.strip()][-1:]
    if said != "ready" or process.returncode:
        raise RuntimeError(f"a fresh process did not get ready: {last[0] if last else 'it said nothing'}")
    return seconds, float(peak)


def _phases(answer: Answer) -> dict[str, float]:
    return {phase: answer.decision.seconds.get(phase, 0.0) for phase in PHASES} if answer.decision else {}


def _tokens(answer: Answer) -> int | None:
    """Tokens of all candidates; None from an endpoint."""
    return sum(judged.candidate.tokens for judged in answer.decision.judged) if answer.decision else None


def _timed(phase: str) -> Callable[[Row], bool]:
    return lambda row: phase in row["seconds"]


def _quantile(phase: str, quantile: float) -> Callable[[Sequence[Row]], float]:
    return lambda rows: float(np.quantile([row["seconds"][phase] for row in rows], quantile))


def _total(rows: Sequence[Row], phase: str) -> float:
    return sum(float(row["seconds"][phase]) for row in rows)


def _ratio(above: float, below: float) -> float | None:
    return above / below if below else None


def _speed(rows: Sequence[Row]) -> float | None:
    return _ratio(sum(row["tokens"] for row in rows), _total(rows, "generate"))


def _share_of_screening(rows: Sequence[Row]) -> float | None:
    return _ratio(_total(rows, "screen"), _total(rows, "whole reply"))


def _screening_by_sampling(rows: Sequence[Row]) -> float | None:
    return _ratio(_total(rows, "screen"), _total(rows, "generate"))


SUITE = Speed()
