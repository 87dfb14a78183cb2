"""A fresh process that gets ready as a server does, says so, samples once and tells its peak of resident memory in MiB.

Run by `speed.py` as `python -m service.suites.starting`, with the settings as a line of JSON.
"""

import resource
import sys
from pathlib import Path

from service.assembly import assemble
from service.generator import Sampling
from service.settings import Settings

READY = "ready"


def main() -> None:
    corridor = assemble(Settings.model_validate_json(sys.stdin.readline()))
    print(READY, flush=True)
    corridor.generator.sample([{"role": "user", "content": "Hello"}], corridor.settings.candidates, Sampling(8))
    print(peak_mib())


def peak_mib() -> float:
    """The most memory that this process has had in use, in MiB."""
    # Not ru_maxrss where there is a choice: on Linux it begins with the peak of the process that started this one.
    status = Path("/proc/self/status")
    if status.is_file():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes


if __name__ == "__main__":
    main()
