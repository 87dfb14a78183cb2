import asyncio
import threading

import pytest

from service.worker import QueueFull, Worker


@pytest.fixture
def worker():
    worker = Worker(max_queue=2)
    yield worker
    worker.close()


@pytest.fixture
def gate():
    opened = threading.Event()
    yield opened
    opened.set()


def test_the_result_of_the_work_is_returned(worker):
    assert asyncio.run(worker.run(lambda: 7)) == 7


def test_what_the_work_raises_is_raised_and_the_worker_goes_on(worker):
    def fails():
        raise KeyError("no such thing")

    async def story():
        with pytest.raises(KeyError, match="no such thing"):
            await worker.run(fails)
        return await worker.run(lambda: 7)

    assert asyncio.run(story()) == 7


def test_one_thing_runs_at_a_time_in_the_order_of_asking():
    worker, running, most, order = Worker(max_queue=9), 0, 0, []

    def work(n):
        nonlocal running, most
        running += 1
        most = max(most, running)
        order.append(n)
        threading.Event().wait(0.005)
        running -= 1

    async def story():
        await asyncio.gather(*(worker.run(lambda n=n: work(n)) for n in range(10)))

    asyncio.run(story())
    worker.close()
    assert (most, order) == (1, list(range(10)))


def test_the_event_loop_goes_on_while_something_runs(worker, gate):
    async def story():
        task = asyncio.create_task(worker.run(lambda: gate.wait(30)))
        await asyncio.sleep(0)
        gate.set()  # never reached if the work held the loop
        return await task

    assert asyncio.run(story()) is True


def test_one_more_than_may_wait_is_turned_away_and_the_limit_is_named(worker, gate):
    async def story():
        tasks = [asyncio.create_task(worker.run(lambda: gate.wait(30))) for _ in range(3)]  # one runs, two wait
        await asyncio.sleep(0)
        with pytest.raises(QueueFull, match=r"2 requests .*max_queue"):
            await worker.run(lambda: True)
        gate.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(story()) == [True] * 3


def test_there_is_room_again_once_work_has_ended_or_failed(worker):
    def fails():
        raise ValueError

    async def story():
        await asyncio.gather(*(worker.run(fails) for _ in range(3)), return_exceptions=True)
        return await asyncio.gather(*(worker.run(lambda: 7) for _ in range(3)))

    assert asyncio.run(story()) == [7] * 3


def test_a_request_that_is_given_up_makes_room_and_is_not_run(worker, gate):
    ran = []

    async def story():
        first = asyncio.create_task(worker.run(lambda: gate.wait(30)))
        waiting = [asyncio.create_task(worker.run(lambda: ran.append("given up"))) for _ in range(2)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        last = asyncio.create_task(worker.run(lambda: ran.append("asked later")))
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(first, last)

    asyncio.run(story())
    assert ran == ["asked later"]
