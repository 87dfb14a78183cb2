"""Killed at any moment, a server has every decision in its durable log whose reply a client has."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
TRIALS = 12


def test_a_server_killed_in_mid_load_loses_no_decision_that_it_acknowledged(
    tmp_path: Path, trials: Callable[..., None]
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.service.log_killing", str(tmp_path), str(TRIALS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == TRIALS
    assert all(row["killed"] for row in rows)
    assert sum(row["missing"] + row["false"] for row in rows) == 0
    acknowledged = sum(row["acknowledged"] for row in rows)
    trials("killed in mid-load", TRIALS)
    print(f"{TRIALS} kills, {acknowledged} replies acknowledged, {rows[-1]['held']} decisions in the log, 0 lost")
    # The kills fell into the load: most children had answered before theirs, and some were killed in between commit and answer.
    assert sum(row["acknowledged"] > 0 for row in rows) > TRIALS / 2
