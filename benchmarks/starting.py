"""A start from nothing, beside importing torch and transformers alone; and a server: its memory, and its latency by clients."""

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import httpx
import numpy as np

from benchmarks.charts import Chart, Line
from benchmarks.figures import Row, Target, ratio, rounds, spread
from benchmarks.load import QUESTIONS, ask, errors
from benchmarks.plan import Begin, Found, Plan, Table, question
from classifiers import models
from classifiers.grounding import SHIPPED_SUPPORT
from classifiers.quality import SHIPPED_QUALITY
from classifiers.safety import SHIPPED
from service.settings import Settings
from service.suites.speed import cold_start

IMPORTS = "import torch, transformers"
CLASSES = "import torch; from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM"
"""What `transformers` itself puts off until somebody asks for a class."""
START, MEMORY = Target("≤", 1.5, "×"), Target("≤", 1.2, "GB")
LONGEST = 300.0
FEW = {"candidates": 4, "max_tokens": 16}
"""Of a request of the clients."""


def start(plan: Plan, begin: Begin) -> Found:
    settings = Settings(model=plan.model)
    works = {
        "ours": lambda: cold_start(settings),
        "imports": lambda: imported(IMPORTS),
        "classes": lambda: imported(CLASSES),
    }
    found = rounds(works, plan.starts, begin("starting", len(works) * (plan.starts + 1)))
    seconds = {name: [each[0] for each in times] for name, times in found.items()}
    ours = f"{spread(seconds['ours']).shown('s')}, {peak(found['ours'])} at its peak, after a reply"
    rows = [
        Row(
            "cold start to ready, cache warm",
            f"{what}, alone",
            ratio(seconds["ours"], seconds[name]),
            "×",
            START,
            ours,
            f"{spread(seconds[name]).shown('s')}, {peak(found[name])}",
        )
        for what, name in (
            ("importing torch and transformers", "imports"),
            ("importing them and the classes that a chat model needs", "classes"),
        )
    ]
    return Found(rows)


def peak(times: Sequence[tuple[float, float]]) -> str:
    """Of memory, in MiB."""
    return f"{statistics.median(each[1] for each in times):.0f} MiB"


def imported(line: str) -> tuple[float, float]:
    """Seconds from nothing until a fresh process has run a line, and MiB of resident memory at its peak. Raises RuntimeError with
    the process's last words where it fails.
    """
    begun = time.perf_counter()
    told = f"{line}; print('ready', flush=True); print(open('/proc/self/status').read() if {linux()} else '')"
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen([sys.executable, "-c", told], stdout=subprocess.PIPE, stderr=complaints, text=True) as process,
    ):
        assert process.stdout is not None
        said = process.stdout.readline()
        seconds = time.perf_counter() - begun
        status = process.stdout.read()
        process.wait()
        if said.strip() != "ready" or process.returncode:
            raise RuntimeError(f"a process that only imports failed: {last_words(complaints)}")
    return seconds, kib(status, "VmHWM") / 2**10


def last_words(said: IO[bytes]) -> str:
    """The last line of what a process complained about."""
    said.seek(0)
    lines = [line for line in said.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def linux() -> bool:
    return Path("/proc/self/status").is_file()


def kib(status: str, name: str) -> float:
    """A field of what Linux tells of a process, in KiB; not a number where it tells none."""
    found = [line.split()[1] for line in status.splitlines() if line.startswith(f"{name}:")]
    return float(found[0]) if found else float("nan")


def serve(plan: Plan, begin: Begin) -> Found:
    """Resident memory after a reply with the defaults; then seconds of an answer by clients at the same time."""
    tick = begin("serving", 2 + len(plan.clients))
    tick("until it is ready")
    with server(plan) as (url, process):
        tick("a reply")
        asyncio.run(ask(url, [{"messages": question(QUESTIONS[0]), "seed": 1}], 1))
        after_one = resident(process)
        rows, points = [], []
        for clients in plan.clients:
            tick(f"{clients} clients")
            bodies = [
                {"messages": question(QUESTIONS[i % len(QUESTIONS)]), "seed": i, **FEW}
                for i in range(max(plan.requests, clients))
            ]
            whole, answers = asyncio.run(ask(url, bodies, clients))
            if wrong := errors(answers):
                raise RuntimeError(f"{wrong} of {len(answers)} requests failed with {clients} clients at the same time")
            seconds = [answer.seconds for answer in answers]
            middle, late = (float(np.percentile(seconds, p)) for p in (50, 95))
            rows.append(
                [str(clients), str(len(bodies)), f"{middle:.2f} s", f"{late:.2f} s", f"{len(bodies) / whole:.2f}"]
            )
            points.append((float(clients), middle, min(seconds), max(seconds)))
        after_all = resident(process)
    note = (
        f"{FEW['candidates']} candidates of at most {FEW['max_tokens']} tokens, screened, ranked, cited, over HTTP. "
        f"Resident after them: {after_all['VmRSS']:.2f} GB, {after_all['VmHWM']:.2f} GB at the peak."
    )
    headings = ("clients at the same time", "requests", "median", "95th percentile", "replies/s")
    return Found(
        [memory(plan, after_one)],
        [Table("A reply by clients", headings, rows, note)],
        {
            "growth-clients": Chart(
                "A reply by clients", "clients at the same time", "seconds", (Line("Winnow", tuple(points)),)
            )
        },
    )


def memory(plan: Plan, resident: dict[str, float]) -> Row:
    model, *classifiers = (
        sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 1e9
        for folder in (models.resolve(plan.model), SHIPPED, SHIPPED_SUPPORT, SHIPPED_QUALITY)
    )
    return Row(
        "resident memory when serving, after a reply of the default size",
        "weights on disk",
        spread([resident["VmRSS"]]) if linux() else None,
        "GB",
        MEMORY,
        f"{resident['VmHWM']:.2f} GB at its peak, the start included",
        f"{model + sum(classifiers):.2f} GB, {sum(classifiers):.3f} of them the classifiers'",
        why="this system does not tell the memory of a process in /proc",
    )


def resident(process: "subprocess.Popen[bytes]") -> dict[str, float]:
    """GB (10^9 bytes) of a process's memory: now (VmRSS) and at its peak (VmHWM)."""
    status = Path(f"/proc/{process.pid}/status").read_text() if linux() else ""
    return {name: kib(status, name) * 2**10 / 1e9 for name in ("VmRSS", "VmHWM")}


@contextmanager
def server(plan: Plan) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A server of its own process, with the defaults but for time limits. Raises RuntimeError with its last words where it does not
    get ready.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"WINNOW_REQUEST_SECONDS": "600", "WINNOW_MODEL": plan.model, "WINNOW_PORT": str(port)}
    command = [sys.executable, "-c", "from service.cli import app; app()", "serve"]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, env=os.environ | own, stdout=said, stderr=said)
        try:
            url = f"http://127.0.0.1:{port}"
            _until_ready(url, process, said)
            yield url, process
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
            process.wait()


def _until_ready(url: str, process: "subprocess.Popen[bytes]", said: IO[bytes]) -> None:
    limit = time.monotonic() + LONGEST
    while time.monotonic() < limit and process.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"the server did not get ready: {last_words(said)}")
