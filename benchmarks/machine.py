"""What a benchmark ran on: processor, cores, memory, versions, commit and date."""

import datetime
import os
import platform
import subprocess
from pathlib import Path

import torch
import transformers

ROOT = Path(__file__).resolve().parent.parent
TELLING = (
    "avx2",
    "avx512f",
    "avx_vnni",
    "avx512_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
    "asimddp",
    "i8mm",
    "bf16",
)
"""Flags of a processor on which the speed of eight-bit and half-precision products depends."""
BUSY = 0.5
"""A load for each core, before the run, above which the machine is not idle."""


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load() -> float:
    """Processes that wanted to run in the last minute, for each core."""
    return os.getloadavg()[0] / cores() if hasattr(os, "getloadavg") else 0.0


def described(load_before: float) -> list[tuple[str, str]]:
    """Names and values, in the order in which they are shown. `load_before`: what `load` said before the run."""
    memory = (
        f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB" if hasattr(os, "sysconf") else "?"
    )
    return [
        ("processor", f"{_processor()}, {cores()} cores, {memory} of memory"),
        ("of its flags", ", ".join(flag for flag in TELLING if flag in _flags()) or "not told by this system"),
        ("load before the run", f"{load_before:.2f} a core"),
        (
            "versions",
            f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}",
        ),
        ("threads of torch", str(torch.get_num_threads())),
        ("commit", commit()),
        ("date", datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")),
    ]


def commit() -> str:
    """Of the working tree, and whether it has changes that are in no commit."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + (
            " with changes" if git("status", "--porcelain", "-uno") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown (no git checkout)"


def _cpuinfo(*names: str) -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() in names), "")


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _flags() -> set[str]:
    return set(_cpuinfo("flags", "Features").split())
