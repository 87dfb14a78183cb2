from itertools import count

import pytest

from service import clock as module
from service.clock import Clock


@pytest.fixture(autouse=True)
def _a_second_a_look(monkeypatch):
    ticks = count()
    monkeypatch.setattr(module.time, "perf_counter", lambda: float(next(ticks)))


def test_the_seconds_of_a_phase_are_what_passed_in_it():
    clock = Clock()
    with clock("generate"):
        pass
    assert clock.seconds == {"generate": 1.0}


def test_a_phase_that_is_entered_twice_adds_up():
    clock = Clock()
    for _ in range(3):
        with clock("screen"):
            pass
    with clock("rank"):
        pass
    assert clock.seconds == {"screen": 3.0, "rank": 1.0}


def test_a_phase_that_fails_is_counted_too():
    clock = Clock()
    with pytest.raises(KeyError), clock("ground"):
        raise KeyError
    assert clock.seconds == {"ground": 1.0}
