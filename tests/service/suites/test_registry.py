"""The registry, and the metrics that others know by name: the headline and the gate that ships as an example."""

from pathlib import Path

import pytest

from service.gating import read_gate
from service.headline import LINES
from service.suites import SUITES, load
from tests.service.suites import (
    test_suite_bias,
    test_suite_classify,
    test_suite_ground,
    test_suite_live,
    test_suite_pick,
)

GATE = Path(__file__).resolve().parents[3] / "benchmarks" / "gate.toml"
ANSWERS = {"sensible": 0.9, "specific": 0.6, "interesting": 0.5}
ROWS = {
    "classify": test_suite_classify.ROWS,
    "pick": test_suite_pick.ROWS,
    "bias": test_suite_bias.FOUR,
    "ground": [test_suite_ground.row(1)],
    "live": test_suite_live.ROWS,
    "quality": [{"id": "a", "reply": "R.", "sent": True, "before": [ANSWERS], "after": ANSWERS}],
}
"""A few rows of each suite whose metrics are known by name elsewhere, as its judge makes them."""

NAMED = {(line.suite, line.metric) for line in LINES} | {
    (floor.suite, floor.metric) for floor in read_gate(GATE, SUITES)
}


@pytest.mark.parametrize("name", SUITES)
def test_every_registered_suite_can_be_loaded_and_goes_by_its_name(name):
    suite = load(name)
    assert suite.name == name
    assert suite.title
    assert suite.batch >= 1
    assert callable(suite.cases)
    assert callable(suite.judge)
    assert callable(suite.metrics)


@pytest.mark.parametrize(("suite", "metric"), sorted(NAMED))
def test_a_metric_of_the_headline_or_the_gate_is_one_that_its_suite_gives(suite, metric):
    assert metric in {each.name for each in load(suite).metrics(ROWS[suite])}


def test_every_metric_that_another_is_the_baseline_of_is_there():
    for name in ROWS:
        names = {metric.name: metric.beside for metric in load(name).metrics(ROWS[name])}
        assert set(names.values()) - {""} <= set(names)
