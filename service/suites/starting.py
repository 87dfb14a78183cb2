"""A fresh process that gets ready as a server does, says so, samples once and tells its peak of resident memory in MiB.

Run by `speed.py` as `python -m service.suites.starting`, with the settings as a line of JSON.
"""

import resource
import sys

from service.assembly import assemble
from service.generator import Sampling
from service.settings import Settings

READY = "ready"


def main() -> None:
    corridor = assemble(Settings.model_validate_json(sys.stdin.readline()))
    print(READY, flush=True)
    corridor.generator.sample([{"role": "user", "content": "Hello"}], corridor.settings.candidates, Sampling(8))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(peak / (2**20 if sys.platform == "darwin" else 2**10))  # macOS counts bytes, Linux KiB


if __name__ == "__main__":
    main()
