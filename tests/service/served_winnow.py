"""`winnow serve` as a process of its own, with a scripted corridor in place of the models: the true command, server and options.

Run as `python -m tests.service.served_winnow OPTION...`. A text with "explode" in a conversation makes the generator raise with that
text, one with "misjudge" the scorer; "bomb" is dropped. `SAID` is in every candidate.
"""

import logging
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import httpx
import psutil

SAID = "zebracandidate"


class ServedWinnow:
    """The process, from outside. `output`: the file that all it prints and logs goes to."""

    def __init__(self, folder, **settings):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.output = folder / "output.log"
        told = {f"WINNOW_{name.upper()}": str(value) for name, value in settings.items()}
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.service.served_winnow", "serve", "--port", str(self.port)],
                cwd=Path(__file__).parents[2],
                env={**os.environ, "OMP_NUM_THREADS": "1", **told},
                stdout=output,
                stderr=output,
            )

    def wait(self):
        """Returns when it answers."""
        for _ in range(6000):
            assert self._process.poll() is None, self.output.read_text()
            try:
                httpx.get(f"{self.url}/healthz", timeout=5)
                return self
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError("it did not start")

    def bytes(self):
        """Resident memory."""
        return psutil.Process(self._process.pid).memory_info().rss

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def stop(self):
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def says(messages, n, sampling):
    asked = " ".join(message["content"] for message in messages)
    if "explode" in asked:
        raise RuntimeError(f"{SAID} {asked}")
    return [f"A bomb, {SAID}: {asked}" if i % 2 else f"Hay, {SAID}." for i in range(n)]


def scores(context, texts, role):
    from tests.service.scripted import scores_of

    if any("misjudge" in text for text in [*texts, *(turn for _, turn in context)]):
        raise ValueError(f"{SAID} {texts}")
    return [scores_of(weapons=0.9 if "bomb" in text else 0.01) for text in texts]


def main():
    from service import assembly, cli
    from tests.service.scripted import make_corridor

    assembly.assemble = lambda settings: replace(make_corridor(says, scores), settings=settings)
    logging.basicConfig(level=logging.DEBUG)  # everything that anything would ever log
    cli.app()


if __name__ == "__main__":
    main()
