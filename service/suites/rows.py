"""The rows of a run on disk: a line of JSON each, written as soon as it is known, so that a killed run goes on without repeating or
losing one.

Knows files. Does not know what is in a row but its id.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class RowFile:
    """One suite's rows. A last line that was cut off by a kill is taken away when the file is opened, and its case judged again.

    Raises ValueError naming the line where another line is not a row, or has the id of one before it: the file was changed by somebody
    else. `remedy`: what is to be done then.
    """

    def __init__(self, path: Path, remedy: str = "name another folder with --output") -> None:
        self.path = path
        self._rows: dict[str, dict[str, Any]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.read_bytes() if path.exists() else b""
        kept = whole[: whole.rfind(b"\n") + 1]
        for number, line in enumerate(kept.splitlines(), 1):
            try:
                row = json.loads(line)
                known = row["id"] in self._rows
                self._rows[row["id"]] = row
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path.name}:{number} is not a row of a run; {remedy}") from error
            if known:
                raise ValueError(f"{path.name}:{number} has the id of a line before it; {remedy}")
        if kept != whole:
            with path.open("r+b") as file:
                file.truncate(len(kept))

    def __contains__(self, id: str) -> bool:
        return id in self._rows

    def __iter__(self) -> Iterator[str]:
        """The ids, in the order in which they were written."""
        return iter(self._rows)

    def values(self) -> list[dict[str, Any]]:
        """The rows, in that order."""
        return list(self._rows.values())

    def __getitem__(self, id: str) -> dict[str, Any]:
        return self._rows[id]

    def add(self, row: dict[str, Any]) -> None:
        """Written and flushed to the disk before it counts. A row of an id that is there raises ValueError."""
        if row["id"] in self._rows:
            raise ValueError(f"{self.path.name} has a row {row['id']!r} already")
        line = json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
        with self.path.open("ab") as file:
            file.write(line.encode("utf-8", "backslashreplace"))
            file.flush()
            os.fsync(file.fileno())
        self._rows[row["id"]] = json.loads(line)
