"""Killed at any moment, `update_index` leaves the old index or the new one, and the next run makes it what it should be."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("engine", ["rank-bm25", "bm25s"])
def test_a_run_killed_before_any_of_its_steps_leaves_a_whole_index(tmp_path: Path, engine: str) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    for folder in (before, after):
        folder.mkdir()
        (folder / "bees.md").write_text("# Bees\n\nBees make honey.")
    (before / "tea.txt").write_text("Tea is a drink.")
    (after / "tea.txt").write_text("Tea is made from leaves.")
    (after / "rows.jsonl").write_text('{"text": "The capital of Kenya."}\n{}\n{"text": "Fish swim."}\n')
    command = [sys.executable, "-m", "tests.retrieval.killing", str(tmp_path), engine]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    for first, allowed in ((True, {"none", "new"}), (False, {"old", "new"})):
        steps = [row for row in rows if row["first"] is first and row["step"] is not None]
        assert {row["left"] for row in steps} == allowed
        assert sum(row["killed"] for row in steps) > 20
        # Once the new index is there it stays.
        lefts = [row["left"] for row in steps]
        assert lefts == sorted(lefts, key=["none", "old", "new"].index)
    assert {row["left"] for row in rows if row["step"] is None} <= {"old", "new"}
    assert all(row["mended"] for row in rows)
