"""speed: what its figures are of. No test here judges how fast anything is."""

import subprocess
import sys

import numpy as np
import pytest

from service.settings import Settings
from service.suites import speed
from service.suites.base import measured
from service.suites.speed import Speed, cold_start
from tests.service.suites.scripted_suites import ScriptedEndpoint, make_run, value

SUITE = Speed(lambda settings: (12.5, 800.0))


def row(id, whole, generate, screen, tokens):
    seconds = {"whole reply": whole, "generate": generate, "screen": screen, "rank": 0.0, "ground": 0.0}
    return {"id": id, "seconds": seconds, "tokens": tokens}


ROWS = [
    row("1", 1.0, 0.5, 0.25, 50),
    row("2", 3.0, 1.5, 0.25, 50),
    {"id": "start", "seconds": {"cold start": 12.5}, "mib": 800.0},
]


def test_figures_by_hand():
    assert value(SUITE, ROWS, "whole reply, P50") == 2.0
    assert value(SUITE, ROWS, "whole reply, P95") == pytest.approx(2.9)
    assert value(SUITE, ROWS, "generate, P99") == pytest.approx(1.49)
    assert value(SUITE, ROWS, "tokens sampled a second") == 50.0
    assert value(SUITE, ROWS, "screening, share of the reply") == 0.125
    assert value(SUITE, ROWS, "screening by sampling") == 0.25
    assert value(SUITE, ROWS, "cold start") == 12.5
    assert value(SUITE, ROWS, "peak resident memory") == 800.0


def test_what_takes_no_time_has_no_ratio_and_no_rows_no_figure():
    assert value(SUITE, [row("1", 0.0, 0.0, 0.0, 0)], "tokens sampled a second") is None
    assert all(measured(metric, []).value is None for metric in SUITE.metrics([]))


def test_a_row_has_every_phase_and_the_tokens_of_all_candidates_after_a_warm_up():
    run = make_run(["one two three"])
    suite = Speed(lambda settings: (1.0, 2.0))
    cases = suite.cases(run)
    rows = suite.judge(cases[:2] + cases[-1:], run)
    assert set(rows[0]["seconds"]) == {"whole reply", "generate", "screen", "rank", "ground"}
    assert rows[0]["tokens"] == 12
    assert rows[2] == {"id": "start", "seconds": {"cold start": 1.0}, "mib": 2.0}
    warm = run.corridor.generator.calls[0]
    assert warm.sampling.max_tokens == 4
    assert all(call.sampling.max_tokens == 96 for call in run.corridor.generator.calls if call.asked != warm.asked)


def test_an_endpoint_tells_whole_replies_alone():
    run = make_run(endpoint=ScriptedEndpoint(["hello"]))
    cases = SUITE.cases(run)
    assert "start" not in {case["id"] for case in cases}
    (found,) = SUITE.judge(cases[:1], run)
    assert found["seconds"] == {"whole reply": 0.5}
    assert value(SUITE, [found], "whole reply, P50") == 0.5
    assert value(SUITE, [found], "tokens sampled a second") is None


@pytest.mark.parametrize(("quick", "n"), [(True, speed.QUICK + 1), (False, speed.WHOLE + 1)])
def test_cases_are_questions_everyday_prompts_and_a_start(quick, n):
    cases = SUITE.cases(make_run(quick=quick))
    assert len(cases) == n
    assert cases[-1] == {"id": "start"}


def test_a_fresh_process_that_fails_says_why(monkeypatch):
    monkeypatch.setattr("service.suites.speed.STARTING", "no_such_module_of_winnow")
    with pytest.raises(RuntimeError, match="No module named no_such_module_of_winnow"):
        cold_start(Settings())


def test_a_fresh_process_is_timed_until_it_is_ready(monkeypatch, tmp_path):
    (tmp_path / "stands_in.py").write_text("import sys; sys.stdin.readline(); print('ready', flush=True); print(42.5)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("service.suites.speed.STARTING", "stands_in")
    seconds, memory = cold_start(Settings())
    assert seconds > 0
    assert memory == 42.5


def test_the_starting_process_can_be_imported():
    done = subprocess.run(
        [sys.executable, "-c", "import service.suites.starting as s; print(s.READY)"], capture_output=True
    )
    assert done.stdout.strip() == b"ready"


def test_the_peak_of_a_process_is_its_own_and_not_that_of_the_one_that_started_it():
    held = np.ones(2**26)  # 512 MiB, in use
    program = "from service.suites.starting import peak_mib; print(peak_mib())"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 5 < float(found.stdout) < held.nbytes / 2**20
