"""Turns and room: every request gets its part of each pass, whatever the others ask for, and what fails fails alone."""

import pytest

from service.generator import LocalGenerator, PromptTooLong, Sampling
from service.scheduling import SHARE_ROWS, Order, Scheduler
from service.ticket import GivenUp, Ticket


def order(text="Hi", n=1, tokens=8, ticket=None, **options):
    messages = [{"role": "user", "content": text}]
    return Order(messages, n, Sampling(max_tokens=tokens, seed=3), ticket or Ticket(), **options)


class Fragile:
    """A model that fails in a pass, or in reading, where a token is in it that somebody asked it to fail at."""

    def __init__(self, model):
        self._model = model
        self.config, self.generation_config = model.config, model.generation_config
        self.fails = lambda ids, positions: False
        self.passes = 0

    def __call__(self, input_ids, position_ids=None, **rest):
        self.passes += 1
        if self.fails(input_ids, position_ids):
            raise RuntimeError("the generator died")
        return self._model(input_ids=input_ids, position_ids=position_ids, **rest)


@pytest.fixture
def fragile(tiny_model):
    return Fragile(tiny_model[0])


@pytest.fixture
def generator(fragile, tiny_model):
    return LocalGenerator("tiny", fragile, tiny_model[1])


@pytest.fixture
def scheduler(generator):
    return Scheduler(generator, rows=64)


def run(scheduler, *orders, turns=10_000):
    """Until nothing is left to do; the most rows of any pass."""
    for each in orders:
        scheduler.add(each)
    most = 0
    for _ in range(turns):
        if scheduler.idle:
            return most
        scheduler.turn()
        most = max(most, scheduler.rows)
    raise AssertionError("it never ends")


def texts(candidates):
    return [c.text for c in candidates]


def test_everybody_gets_what_they_would_have_got_alone(scheduler, generator):
    orders = [order(f"Question {i} " + "x" * i, n=1 + 5 * i, tokens=3 + i) for i in range(6)]
    run(scheduler, *orders)
    for each in orders:
        assert texts(each.answer.result(0)) == texts(generator.sample(each.messages, each.n, each.sampling))


@pytest.mark.parametrize("rows", [1, 3, 8, 20])
def test_no_pass_has_more_rows_than_it_may(generator, rows):
    scheduler = Scheduler(generator, rows)
    assert 0 < run(scheduler, *(order(n=n) for n in (1, 30, 9))) <= rows


def test_one_candidate_does_not_wait_for_sixty_four(scheduler):
    many, one = order(n=64, tokens=200), order("Quick?", tokens=5)
    scheduler.add(many)
    scheduler.turn()
    assert scheduler.rows == 64
    scheduler.add(one)
    for _ in range(6):
        scheduler.turn()
        assert scheduler.rows <= 64
    assert one.answer.done()
    assert not many.answer.done()


def test_two_large_requests_share_the_passes_evenly_in_time(scheduler):
    first, second = order(n=64, tokens=40), order("Another", n=64, tokens=40)
    scheduler.add(first)
    scheduler.turn()
    scheduler.add(second)
    scheduler.turn()
    assert (first.rows, second.rows) == (64 - SHARE_ROWS, SHARE_ROWS)  # the newcomer need not wait
    run(scheduler)
    assert first.answer.done()
    assert second.answer.done()


def test_who_asked_first_has_the_first_free_row(generator):
    scheduler = Scheduler(generator, rows=2)
    orders = [order(f"Question {i}", n=2, tokens=3) for i in range(5)]
    ended = []
    for number, each in enumerate(orders):
        each.answer.add_done_callback(lambda _, number=number: ended.append(number))
    run(scheduler, *orders)
    assert ended == [0, 1, 2, 3, 4]


def test_a_conversation_that_is_too_long_is_said_so_to_whoever_asked(scheduler):
    long, short = order("x" * 600), order()
    run(scheduler, long, short)
    with pytest.raises(PromptTooLong):
        long.answer.result(0)
    assert len(short.answer.result(0)) == 1


def test_who_gives_up_is_out_of_the_next_pass_and_its_neighbours_go_on(scheduler, generator):
    ticket = Ticket()
    left, stays = order(n=20, tokens=50, ticket=ticket), order("And you?", n=2, tokens=9)
    scheduler.add(left)
    scheduler.add(stays)
    scheduler.turn()
    assert scheduler.rows == 22
    ticket.cancel()
    scheduler.turn()
    assert scheduler.rows == 2
    with pytest.raises(GivenUp):
        left.answer.result(0)
    run(scheduler)
    assert texts(stays.answer.result(0)) == texts(generator.sample(stays.messages, 2, stays.sampling))


def test_who_is_over_before_its_turn_is_never_begun(scheduler, fragile):
    ticket = Ticket()
    ticket.cancel()
    given_up = order(ticket=ticket)
    run(scheduler, given_up)
    assert given_up.answer.done()
    assert fragile.passes == 0


def test_a_pass_that_dies_once_costs_nobody_their_answer(scheduler, fragile, generator):
    orders = [order(f"Question {i}", n=3) for i in range(4)]
    died = []

    def fails(ids, positions):
        dies = ids.shape[0] == 12 and fragile.passes > 8 and not died
        if dies:
            died.append(fragile.passes)
        return dies

    fragile.fails = fails
    run(scheduler, *orders)
    assert died
    for each in orders:
        assert texts(each.answer.result(0)) == texts(generator.sample(each.messages, 3, each.sampling))


def test_a_request_that_kills_every_pass_it_is_in_fails_alone(scheduler, fragile, generator):
    orders = [order(f"Question {i}", n=2) for i in range(3)]
    poison = order("Poison " * 20, n=2)
    run_alone = {id(each): texts(generator.sample(each.messages, 2, each.sampling)) for each in orders}
    for each in (*orders, poison):
        scheduler.add(each)
    scheduler.turn()
    fragile.fails = lambda ids, positions: ids.shape[1] == 1 and int(positions.max()) > 140  # so long is it alone
    run(scheduler)
    with pytest.raises(RuntimeError, match="died"):
        poison.answer.result(0)
    assert {id(each): texts(each.answer.result(0)) for each in orders} == run_alone


def test_a_prompt_that_cannot_be_read_fails_alone(scheduler, fragile):
    good, bad = order("Hi", n=2), order("Longer than the other one", n=2)
    fragile.fails = lambda ids, positions: ids.shape[1] > 30
    run(scheduler, good, bad)
    with pytest.raises(RuntimeError, match="died"):
        bad.answer.result(0)
    assert len(good.answer.result(0)) == 2


def test_the_text_so_far_is_told_after_every_step_of_a_single_candidate(scheduler):
    seen = []
    followed, crowd = order(tokens=6, on_text=seen.append), order(n=2, tokens=6, on_text=lambda _: 1 / 0)
    run(scheduler, followed, crowd)
    (candidate,) = followed.answer.result(0)
    assert [len(text) for text in seen] == [1, 2, 3, 4, 5, 6]
    assert seen[-1].strip() == candidate.text
    assert all(seen[-1].startswith(text) for text in seen)
    assert len(crowd.answer.result(0)) == 2


def test_nothing_is_kept_of_what_has_ended(scheduler):
    run(scheduler, *(order(n=9) for _ in range(3)))
    assert (scheduler.rows, scheduler.orders) == (0, [])
