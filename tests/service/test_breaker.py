"""After enough failures in a row nothing is called; after the pause one call decides."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.breaker import Breaker, Open


class Alive(Exception):
    """What shows that the server works all the same."""


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def call(breaker, error=None):
    with breaker.guard(lambda error: isinstance(error, Alive)):
        if error:
            raise error


def attempt(breaker, error=None):
    """What becomes of a call: "passed", "failed", or "refused" before it began."""
    try:
        call(breaker, error)
    except Open:
        return "refused"
    except Exception:
        return "failed"
    return "passed"


def opened(failures=3, pause=10.0):
    clock = Clock()
    breaker = Breaker(failures, pause, clock)
    for _ in range(failures):
        assert attempt(breaker, OSError("gone")) == "failed"
    return breaker, clock


def test_it_opens_after_so_many_failures_in_a_row_and_says_for_how_long():
    breaker, clock = opened()
    clock.now += 4
    with pytest.raises(Open) as refused:
        call(breaker)
    assert (refused.value.seconds, refused.value.failures, str(refused.value.last)) == (6.0, 3, "gone")
    assert breaker.state == "open"


def test_what_shows_that_the_server_works_is_no_failure():
    breaker = Breaker(2, 10.0, Clock())
    for _ in range(5):
        assert attempt(breaker, Alive()) == "failed"
        assert attempt(breaker, OSError()) == "failed"
    assert breaker.state == "closed"


def test_a_call_that_is_given_up_is_a_failure():
    breaker = Breaker(1, 10.0, Clock())
    with pytest.raises(KeyboardInterrupt):
        call(breaker, KeyboardInterrupt())
    assert breaker.state == "open"


@pytest.mark.parametrize(("error", "state"), [(None, "closed"), (Alive(), "closed"), (OSError(), "open")])
def test_after_the_pause_one_call_decides_and_others_wait_for_it(error, state):
    breaker, clock = opened()
    clock.now += 10
    assert (breaker.state, breaker.refusal()) == ("half-open", None)
    with suppress(OSError, Alive), breaker.guard(lambda error: isinstance(error, Alive)):
        assert breaker.refusal().seconds > 0
        assert attempt(breaker) == "refused"
        if error:
            raise error
    assert breaker.state == state
    assert attempt(breaker) == ("passed" if state == "closed" else "refused")


def test_calls_that_began_before_it_opened_neither_close_it_nor_prolong_it():
    clock = Clock()
    breaker = Breaker(2, 10.0, clock)
    with breaker.guard(lambda error: False):
        with suppress(OSError), breaker.guard(lambda error: False):
            assert [attempt(breaker, OSError()) for _ in range(3)] == ["failed", "failed", "refused"]
            clock.now += 6
            raise OSError("late")
        assert breaker.refusal().seconds == 4
    assert breaker.state == "open"


@given(st.integers(1, 4), st.lists(st.sampled_from(["good", "bad", 3.0, 10.0, 11.0]), max_size=40))
def test_of_any_row_of_calls_none_passes_while_it_is_open(failures, events):
    clock = Clock()
    breaker = Breaker(failures, 10.0, clock)
    in_a_row, until = 0, None
    for event in events:
        if isinstance(event, float):
            clock.now += event
            continue
        error = OSError() if event == "bad" else None
        if until is not None and clock.now < until:
            assert attempt(breaker, error) == "refused"
            continue
        assert attempt(breaker, error) == ("failed" if error else "passed")
        in_a_row = in_a_row + 1 if error else 0
        until = clock.now + 10.0 if in_a_row >= failures else None
