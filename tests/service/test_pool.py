import asyncio
import threading

import pytest

from service.pool import Pool, QueueFull, TooLate


@pytest.fixture
def pool():
    pool = Pool(running=1, waiting=2)
    yield pool
    pool.close()


@pytest.fixture
def gate():
    opened = threading.Event()
    yield opened
    opened.set()


def test_the_result_of_the_work_is_returned(pool):
    assert asyncio.run(pool.run(lambda _: 7)) == 7


def test_what_the_work_raises_is_raised_and_the_worker_goes_on(pool):
    def fails(_):
        raise KeyError("no such thing")

    async def story():
        with pytest.raises(KeyError, match="no such thing"):
            await pool.run(fails)
        return await pool.run(lambda _: 7)

    assert asyncio.run(story()) == 7


def test_work_that_ends_in_a_stop_iteration_has_failed_and_nobody_waits_for_ever(pool):
    with pytest.raises(RuntimeError, match="no next element"):
        asyncio.run(asyncio.wait_for(pool.run(lambda _: next(iter([]))), 5))


@pytest.mark.parametrize("places", [1, 3])
def test_as_many_run_at_a_time_as_may_in_the_order_of_asking(places):
    pool, running, most, order = Pool(places, waiting=9), 0, 0, []
    lock = threading.Lock()

    def work(n):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            order.append(n)
        threading.Event().wait(0.02)
        with lock:
            running -= 1

    async def story():
        await asyncio.gather(*(pool.run(lambda _, n=n: work(n)) for n in range(10)))

    asyncio.run(story())
    pool.close()
    assert (most, sorted(order)) == (places, list(range(10)))
    assert all(abs(n - at) < places for at, n in enumerate(order))


def test_the_event_loop_goes_on_while_something_runs(pool, gate):
    async def story():
        task = asyncio.create_task(pool.run(lambda _: gate.wait(30)))
        await asyncio.sleep(0)
        gate.set()  # never reached if the work held the loop
        return await task

    assert asyncio.run(story()) is True


def test_one_more_than_may_wait_is_turned_away_and_the_limit_is_named(pool, gate):
    async def story():
        tasks = [asyncio.create_task(pool.run(lambda _: gate.wait(30))) for _ in range(3)]  # one runs, two wait
        await asyncio.sleep(0)
        with pytest.raises(QueueFull, match=r"2 requests .*max_queue"):
            await pool.run(lambda _: True)
        gate.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(story()) == [True] * 3


def test_there_is_room_again_once_work_has_ended_or_failed(pool):
    def fails(_):
        raise ValueError

    async def story():
        await asyncio.gather(*(pool.run(fails) for _ in range(3)), return_exceptions=True)
        return await asyncio.gather(*(pool.run(lambda _: 7) for _ in range(3)))

    assert asyncio.run(story()) == [7] * 3


def test_a_request_that_is_given_up_makes_room_and_is_not_run(pool, gate):
    ran = []

    async def story():
        first = asyncio.create_task(pool.run(lambda _: gate.wait(30)))
        waiting = [asyncio.create_task(pool.run(lambda _: ran.append("given up"))) for _ in range(2)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        last = asyncio.create_task(pool.run(lambda _: ran.append("asked later")))
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(first, last)

    asyncio.run(story())
    assert ran == ["asked later"]


def test_an_answer_that_comes_too_late_is_not_waited_for_and_its_work_is_told(gate):
    tickets = []

    def work(ticket):
        tickets.append(ticket)
        return gate.wait(30)

    async def story():
        pool = Pool(running=1, waiting=1, seconds=0.05)
        with pytest.raises(TooLate, match=r"0.05 s .*request_seconds"):
            await pool.run(work)
        (ticket,) = tickets
        assert ticket.over
        gate.set()
        pool.close()

    asyncio.run(story())


def test_waiting_counts_towards_the_deadline_and_what_is_late_before_it_begins_is_not_run(gate):
    ran = []

    async def story():
        pool = Pool(running=1, waiting=1, seconds=0.05)
        late = [asyncio.create_task(pool.run(work)) for work in (lambda _: gate.wait(30), lambda _: ran.append("late"))]
        assert [type(error) for error in await asyncio.gather(*late, return_exceptions=True)] == [TooLate, TooLate]
        gate.set()
        while pool._tickets:
            await asyncio.sleep(0.005)
        assert await pool.run(lambda _: 7) == 7
        pool.close()

    asyncio.run(story())
    assert ran == []


def test_a_time_out_of_the_work_itself_is_its_own(pool):
    def fails(_):
        raise TimeoutError("a database")

    with pytest.raises(TimeoutError, match="a database"):
        asyncio.run(pool.run(fails))


def test_work_whose_client_has_left_is_told_and_its_place_is_free_when_it_has_stopped(gate):
    told = threading.Event()

    def work(ticket):
        while not ticket.over:
            gate.wait(0.002)
        told.set()

    async def story():
        pool = Pool(running=1, waiting=0)
        task = asyncio.create_task(pool.run(work))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        while pool._tickets:
            await asyncio.sleep(0.002)
        assert told.is_set()
        assert await pool.run(lambda _: 7) == 7
        pool.close()

    asyncio.run(story())


@pytest.mark.parametrize(("running", "waiting"), [(1, 3), (4, 3), (1, 500)])
def test_when_to_try_again_is_a_whole_number_of_seconds_that_grows_with_the_queue(gate, running, waiting):
    async def story():
        pool = Pool(running, waiting)
        tasks = [asyncio.create_task(pool.run(lambda _: gate.wait(30))) for _ in range(running + waiting)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull) as full:
            await pool.run(lambda _: True)
        gate.set()
        await asyncio.gather(*tasks)
        pool.close()
        return full.value.retry_after

    assert asyncio.run(story()) == {(1, 3): 4, (4, 3): 2, (1, 500): 60}[running, waiting]
