from dataclasses import asdict
from pathlib import Path

import pytest

from service.gating import Floor, GateError, failures, read_gate
from service.suites.base import Metric, measured

ROOT = Path(__file__).resolve().parents[2]


def figure(name, value, low=None, high=None, unit="share"):
    found = asdict(measured(Metric(name, lambda rows: None, unit=unit), [{"id": "a"}]))
    return {**found, "value": value, "low": low, "high": high}


SUITES_RUN = {
    "live": {"figures": [figure("safe after", 0.95, 0.92, 0.97), figure("refusals", None)]},
    "speed": {"figures": [figure("latency, P95", 4.0, 3.5, 5.0, "seconds")]},
    "bias": {"title": "", "unavailable": "needs the set 'swaps'"},
}


def gate(tmp_path, text):
    path = tmp_path / "gate.toml"
    path.write_text(text)
    return read_gate(path, list(SUITES_RUN))


def test_a_gate_names_floors_and_ceilings_by_suite_and_metric(tmp_path):
    text = '[live."safe after"]\nat_least = 0.93\nbound = "low"\n[speed."latency, P95"]\nat_most = 5\n'
    assert gate(tmp_path, text) == [
        Floor("live", "safe after", 0.93, None, "low"),
        Floor("speed", "latency, P95", None, 5, "value"),
    ]


@pytest.mark.parametrize(
    ("least", "most", "bound", "says"),
    [
        (0.95, None, "value", None),
        (None, 0.95, "value", None),
        (0.951, None, "value", "live, safe after is 95.0%, under the floor of 95.1%"),
        (None, 0.9, "value", "live, safe after is 95.0%, over the ceiling of 90.0%"),
        (0.93, None, "low", "live, safe after, the low end of its 95% interval, is 92.0%, under the floor of 93.0%"),
        (0.92, None, "low", None),
        (None, 0.96, "high", "live, safe after, the high end of its 95% interval, is 97.0%, over the ceiling of 96.0%"),
        (0.9, 0.96, "value", None),
    ],
)
def test_what_a_floor_says_of_a_figure(least, most, bound, says):
    found = failures([Floor("live", "safe after", least, most, bound)], SUITES_RUN)
    assert found == ([] if says is None else [says])


def test_every_metric_under_its_floor_is_named():
    floors = [Floor("live", "safe after", 0.99, None), Floor("speed", "latency, P95", None, 1.0)]
    assert failures(floors, SUITES_RUN) == [
        "live, safe after is 95.0%, under the floor of 99.0%",
        "speed, latency, P95 is 4.00 s, over the ceiling of 1.00 s",
    ]


@pytest.mark.parametrize(
    ("floor", "says"),
    [
        (Floor("live", "safety", 0.9, None), "live, safety: no such metric; there are: safe after, refusals"),
        (Floor("live", "refusals", None, 0.9), r"live, refusals: not defined on these rows \(n 1\)"),
        (Floor("live", "refusals", None, 0.9, "high"), "live, refusals: not defined"),
        (Floor("bias", "gap", None, 0.9), r"bias, gap: not run \(needs the set 'swaps'\)"),
        (Floor("robust", "gap", None, 0.9), "robust, gap: not run"),
    ],
)
def test_what_cannot_be_looked_at_is_an_error_and_never_passed_over(floor, says):
    fine = Floor("live", "safe after", 0.5, None)
    broken = Floor("live", "safe after", 0.99, None)
    for others in ([], [fine], [broken]):
        with pytest.raises(GateError, match=f"the gate cannot be decided: {says}"):
            failures([*others, floor], SUITES_RUN)


def test_what_is_broken_is_named_though_another_metric_cannot_be_looked_at():
    floors = [Floor("live", "safe after", 0.99, None), Floor("live", "safety", 0.9, None)]
    with pytest.raises(GateError, match=r"live, safety: no such metric.*; live, safe after is 95\.0%, under the floor"):
        failures(floors, SUITES_RUN)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names no metric"),
        ("[live]\n", "names no metric"),
        ("live =", "cannot be read as TOML"),
        ("live = 3", "live is no table"),
        ('[nice."x"]\nat_least = 1', "there is no suite 'nice' in this run; there are: live, speed, bias"),
        ('[live]\n"x" = 0.9', r'\[live\."x"\] is no table'),
        ('[live."x"]\n', "has neither at_least nor at_most"),
        ('[live."x"]\nbound = "low"', "has neither at_least nor at_most"),
        ('[live."x"]\nat_least = "much"', "at_least is 'much', not a number"),
        ('[live."x"]\nat_least = true', "at_least is True, not a number"),
        ('[live."x"]\nat_most = nan', "at_most is nan, not a number"),
        ('[live."x"]\natleast = 0.9', "'atleast' is unknown; known: at_least, at_most, bound"),
        ('[live."x"]\nat_least = 0.9\nbound = "lower"', "bound is 'lower'; allowed: value, low, high"),
        ('[live."x"]\nat_least = 0.9\nat_most = 0.8', "at_least 0.9 is above at_most 0.8"),
    ],
)
def test_a_gate_that_says_nothing_clear_is_refused(tmp_path, text, says):
    with pytest.raises(GateError, match=r"gate\.toml.*" + says):
        gate(tmp_path, text)


def test_the_gate_that_ships_as_an_example_can_be_read():
    floors = read_gate(ROOT / "benchmarks" / "gate.toml", ("classify", "pick", "live", "bias", "ground"))
    assert len({(floor.suite, floor.metric) for floor in floors}) == len(floors)
