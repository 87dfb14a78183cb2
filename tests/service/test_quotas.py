import math
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.chat import Wants
from service.generator import Sampling
from service.keys import Key
from service.quotas import DAY, MINUTE, SLOTS, Quota, Quotas, Window, cost, duration
from tests.service.scripted import ASKS_NOTHING, make_corridor


class Clock:
    def __init__(self):
        self.now = 50.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def key(requests=None, tokens=None, digest="0"):
    return Key(
        name="a",
        sha256=digest * 64,
        scopes=["chat"],
        requests_per_minute=requests,
        tokens_per_day=tokens,
        created="2026-01-31",
    )


@given(limit=st.integers(1, 6), pauses=st.lists(st.floats(0, 40), max_size=60))
def test_no_minute_however_it_is_laid_holds_more_requests_than_the_limit(limit, pauses):
    clock, taken = Clock(), []
    quota = Quota(clock)
    for pause in pauses:
        clock.now += pause
        if quota.take(key(limit)) is None:
            taken.append(clock.now)
    for start in taken:
        assert sum(start <= at < start + MINUTE for at in taken) <= limit


@given(limit=st.integers(1, 6), pauses=st.lists(st.floats(0, 40), max_size=40))
def test_who_waits_as_long_as_told_is_answered_and_not_much_longer_than_needed(limit, pauses):
    clock = Clock()
    quota = Quota(clock)
    for pause in pauses:
        clock.now += pause
        refused = quota.take(key(limit))
        if refused:
            assert 0 < refused.wait <= MINUTE * (1 + 1 / SLOTS) + 1e-6
            clock.now += math.ceil(refused.wait) + 1e-6
            assert quota.take(key(limit)) is None


def test_a_refused_request_is_not_counted(clock):
    quota = Quota(clock)
    assert quota.take(key(1)) is None
    for _ in range(100):
        assert quota.take(key(1))
    clock.now += MINUTE * (1 + 1 / SLOTS)
    assert quota.take(key(1)) is None


def test_without_a_limit_nothing_is_refused(clock):
    quota = Quota(clock)
    quota.spend(10**15)
    assert all(quota.take(key()) is None for _ in range(1000))
    assert quota.headers(key()) == {}


def test_a_budget_is_used_up_by_what_was_spent_and_what_is_over_is_paid_off_first(clock):
    quota = Quota(clock)
    assert quota.take(key(tokens=100)) is None
    quota.spend(99)
    assert quota.take(key(tokens=100)) is None  # begun within the budget
    clock.now += 3600
    quota.spend(150)
    refused = quota.take(key(tokens=100))
    assert (refused.what, refused.limit) == ("tokens", 100)
    clock.now += DAY - 3600 + DAY / SLOTS  # the 99 are forgotten, the 150 are not
    assert quota.take(key(tokens=100)).what == "tokens"
    clock.now += 3601
    assert quota.take(key(tokens=100)) is None


@given(st.lists(st.tuples(st.floats(0, DAY / 3), st.integers(0, 50)), max_size=50))
def test_what_is_spent_counts_for_a_day_and_at_most_a_thousandth_longer(spends):
    clock = Clock()
    window, made = Window(DAY, clock), []
    for pause, amount in spends:
        clock.now += pause
        window.spend(amount)
        made.append((clock.now, amount))
        at_least = sum(n for at, n in made if at + DAY > clock.now + 1e-3)
        at_most = sum(n for at, n in made if at + DAY + DAY / SLOTS >= clock.now - 1e-3)
        assert at_least <= window.spent <= at_most


def test_a_million_spends_take_bounded_memory(clock):
    window = Window(DAY, clock)
    for _ in range(20_000):
        clock.now += DAY / 20_000
        window.spend(1)
    assert len(window._slots) <= SLOTS + 2


def test_the_clock_on_the_wall_may_jump(monkeypatch):
    quotas = Quotas()
    walls = iter([0.0, 4e9, -4e9, 1e10, 0.0] * 50)
    monkeypatch.setattr(time, "time", lambda: next(walls))
    taken = [quotas.of(key(3)).take(key(3)) for _ in range(20)]
    assert [refused is None for refused in taken] == [True] * 3 + [False] * 17
    assert all(0 < refused.wait <= MINUTE * (1 + 1 / SLOTS) for refused in taken[3:])


def test_a_changed_limit_holds_from_the_next_request_on(clock):
    quotas = Quotas(clock)
    assert all(quotas.of(key(5)).take(key(5)) is None for _ in range(5))
    assert quotas.of(key(2)).take(key(2)).limit == 2
    assert quotas.of(key(6)).take(key(6)) is None


def test_one_key_does_not_use_up_what_another_has(clock):
    quotas = Quotas(clock)
    assert quotas.of(key(1)).take(key(1)) is None
    assert quotas.of(key(1)).take(key(1))
    assert quotas.of(key(1, digest="1")).take(key(1, digest="1")) is None


def test_the_headers_are_those_that_openais_clients_read(clock):
    quota = Quota(clock)
    quota.take(key(10, 1000))
    clock.now += 15
    quota.take(key(10, 1000))
    quota.spend(300)
    assert quota.headers(key(10, 1000)) == {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "8",
        "x-ratelimit-reset-requests": "1m1s",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "700",
        "x-ratelimit-reset-tokens": "24h1m27s",
    }
    quota.spend(5000)
    assert quota.headers(key(10, 1000))["x-ratelimit-remaining-tokens"] == "0"


def test_a_client_is_told_when_to_come_back_and_not_to_wait_for_long(clock):
    quota = Quota(clock)
    quota.take(key(1))
    clock.now += 50.5
    refused = quota.take(key(1))
    assert refused.headers == {"retry-after": "10"}
    assert refused.message == "this key may use 1 requests a minute, which are used up; try again in 10s"
    quota.spend(5)
    assert quota.take(key(tokens=5)).headers == {"retry-after": "86487", "x-should-retry": "false"}


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0ms"), (0.2501, "251ms"), (1, "1s"), (59.2, "1m0s"), (360, "6m0s"), (3600, "1h0m0s"), (86_400, "24h0m0s")],
)
def test_durations_are_written_as_in_the_headers(seconds, shown):
    assert duration(seconds) == shown


def test_a_reply_costs_its_prompt_and_every_candidate_dropped_ones_too():
    wants = Wants(candidates=4, choices=1, sampling=Sampling(max_tokens=8), seed=1, grounding="off")
    decision = make_corridor(["one bomb.", "Two words."], {"bomb": {"weapons": 0.9}}).reply(ASKS_NOTHING, wants)
    assert decision.dropped
    assert cost(decision) == decision.prompt_tokens + 4 * 2
    assert cost(replace(decision, judged=())) == decision.prompt_tokens
