"""The folder of one run of the evaluation: what it was made with, its rows, its results.

    run.json       the facts (`suites/facts.py`), written before the first row
    rows/NAME.jsonl  the rows of a suite (`suites/rows.py`)
    seconds.json   how long each suite was judged, over all goes
    sheet.jsonl    replies of `live` for people to label; labelled.jsonl what they said (`suites/sheets.py`)
    results.json, summary.md, report.html   at the end

Knows files. Does not know suites or what is shown.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from service.suites.facts import differing, value_at
from service.suites.rows import RowFile

RUN, RESULTS = "run.json", "results.json"


class RunFolder:
    """A folder that holds a run or is to hold one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def holds_run(self) -> bool:
        return (self.path / RUN).is_file()

    @contextmanager
    def held(self) -> Iterator[None]:
        """While the block runs no other process writes here. Raises ValueError where one does."""
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.path / ".lock", timeout=0):
                yield
        except Timeout as error:
            raise ValueError(
                f"another evaluation is writing to {self.path}; name another folder with --output"
            ) from error

    def begin(self, facts: dict[str, Any]) -> None:
        """Writes the facts; where a run is already here, makes sure that it has the same ones. Raises ValueError naming every fact
        that differs.
        """
        if not self.holds_run:
            if (self.path / "rows").exists():
                raise ValueError(f"{self.path} holds rows and no {RUN}; name another folder with --output")
            self.write(RUN, facts)
            return
        here = self.read(RUN)
        different = [
            f"{name} ({_short(here, name)} there, {_short(facts, name)} now)" for name in differing(here, facts)
        ]
        if different:
            raise ValueError(
                f"the run in {self.path} was made with other facts: {', '.join(different)}; name another folder with --output"
            )

    def rows(self, suite: str) -> RowFile:
        """Raises ValueError naming a line that is no row."""
        return RowFile(self.path / "rows" / f"{suite}.jsonl")

    @property
    def seconds(self) -> dict[str, float]:
        return self.read("seconds.json") if (self.path / "seconds.json").is_file() else {}

    def add_seconds(self, suite: str, seconds: float) -> None:
        so_far = self.seconds
        self.write("seconds.json", {**so_far, suite: so_far.get(suite, 0.0) + seconds})

    @property
    def results(self) -> dict[str, Any] | None:
        """None where no run here has come to its end."""
        return self.read(RESULTS) if (self.path / RESULTS).is_file() else None

    def read(self, name: str) -> dict[str, Any]:
        """Raises ValueError naming the file where it is not a JSON object, FileNotFoundError where it is not there."""
        path = self.path / name
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} cannot be read as JSON: {error}") from error
        if not isinstance(found, dict):
            raise ValueError(f"{path} is not a JSON object")
        return found

    def write(self, name: str, content: dict[str, Any] | str) -> None:
        """A whole file or none: a kill leaves the earlier one."""
        text = content if isinstance(content, str) else json.dumps(content, indent=1, allow_nan=False) + "\n"
        aside = self.path / f".{name}.part"
        aside.write_text(text, encoding="utf-8", errors="backslashreplace")
        aside.replace(self.path / name)


def newest(folder: Path) -> Path:
    """The folder in there whose run began last. Raises ValueError where none holds a run."""
    found = [path.parent for path in folder.glob(f"*/{RUN}")]
    if not found:
        raise ValueError(f"no folder in {folder} holds a run; leave out --resume, or name the folder with --output")
    return max(found, key=lambda path: (path / RUN).stat().st_mtime_ns)


def _short(facts: dict[str, Any], name: str) -> str:
    value = value_at(facts, name)
    return value[:24] if isinstance(value, str) else json.dumps(value)[:60]
