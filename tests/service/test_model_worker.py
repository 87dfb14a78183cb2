"""The models' thread: one for everything, texts of several requests judged together, and no hang or fault that stops it."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.generator import LocalGenerator, Sampling
from service.model_worker import MAX_HUNG, ModelWorker, Stalled
from service.scheduling import Order
from service.ticket import GivenUp, Ticket
from tests.service.scripted import ScriptedSafety

CONTEXT = [("user", "Hi")]


@pytest.fixture
def gate():
    opened = threading.Event()
    yield opened
    opened.set()


@pytest.fixture
def worker(request):
    made = ModelWorker(**getattr(request, "param", {}))
    yield made
    made.close()


@pytest.fixture
def crowd():
    with ThreadPoolExecutor(64) as threads:
        yield threads


def order(n=1, tokens=6, seed=0, ticket=None):
    return Order([{"role": "user", "content": "Hi"}], n, Sampling(max_tokens=tokens, seed=seed), ticket or Ticket())


class Together(ScriptedSafety):
    """Judges the texts of several requests at once; `batches`: how many requests came in each."""

    def __init__(self, fails=()):
        super().__init__()
        self.fails, self.batches = fails, []

    def scores_many(self, asked):
        self.batches.append(len(asked))
        return [self.scores(*each) for each in asked]

    def scores(self, context, replies, role="assistant"):
        if set(replies) & set(self.fails):
            raise ValueError("cannot be judged")
        return [{"text": reply} for reply in replies]


def test_the_result_and_whatever_is_raised_come_back(worker):
    assert worker.call(lambda: 7, Ticket()) == 7
    with pytest.raises(KeyError, match="no such thing"):
        worker.call(lambda: {}["no such thing"], Ticket())
    with pytest.raises(SystemExit):
        worker.call(exit, Ticket())
    assert worker.call(lambda: 8, Ticket()) == 8


def test_everything_runs_in_one_thread_that_is_nobody_elses(tiny_model, crowd):
    seen = set()

    class Watched:
        config, generation_config = tiny_model[0].config, tiny_model[0].generation_config

        def __call__(self, **given):
            seen.add(threading.get_ident())
            return tiny_model[0](**given)

    class Scorer(ScriptedSafety):
        def scores(self, *given):
            seen.add(threading.get_ident())
            return super().scores(*given)

    worker = ModelWorker(LocalGenerator("tiny", Watched(), tiny_model[1]))
    asked = [crowd.submit(worker.sample, order(n=2, seed=i)) for i in range(8)]
    asked += [crowd.submit(worker.scores, Scorer(), (CONTEXT, ["a"], "user"), Ticket()) for _ in range(8)]
    asked += [crowd.submit(worker.call, lambda: seen.add(threading.get_ident()), Ticket()) for _ in range(8)]
    for each in asked:
        each.result(30)
    worker.close()
    assert len(seen) == 1
    assert threading.get_ident() not in seen


def test_requests_at_the_same_time_share_passes_and_get_what_each_gets_alone(tiny_model, crowd):
    generator = LocalGenerator("tiny", *tiny_model)
    worker = ModelWorker(generator, rows=40, wait_seconds=0.05)
    asked = [crowd.submit(worker.sample, order(n=1 + i % 5, tokens=20, seed=i)) for i in range(20)]
    found = [[c.text for c in each.result(60)] for each in asked]
    worker.close()
    for i, texts in enumerate(found):
        alone = order(n=1 + i % 5, tokens=20, seed=i)
        assert texts == [c.text for c in generator.sample(alone.messages, alone.n, alone.sampling)]
    assert 5 < max(worker.passes) <= 40


def hold(worker, gate, crowd):
    """The worker busy with a call until the gate opens."""
    began = threading.Event()
    held = crowd.submit(worker.call, lambda: began.set() or gate.wait(30), Ticket())
    assert began.wait(10)
    return held


def waiting(worker, count):
    """Until so many readings wait."""
    until = time.monotonic() + 10
    while len(worker._readings) < count:
        assert time.monotonic() < until
        time.sleep(0.002)


@pytest.mark.parametrize("worker", [{"rows": 6}], indirect=True)
def test_texts_of_several_requests_are_judged_together_up_to_a_limit_and_each_gets_its_own(worker, gate, crowd):
    hold(worker, gate, crowd)
    scorer = Together()
    asked = []
    for i in range(5):
        asked.append(crowd.submit(worker.scores, scorer, (CONTEXT, [f"{i}a", f"{i}b"], "assistant"), Ticket()))
        waiting(worker, i + 1)
    gate.set()
    assert [each.result(10) for each in asked] == [[{"text": f"{i}a"}, {"text": f"{i}b"}] for i in range(5)]
    assert scorer.batches == [3, 2]


def test_one_request_that_cannot_be_judged_does_not_drop_the_others(worker, gate, crowd):
    hold(worker, gate, crowd)
    scorer = Together(fails=["poison"])
    asked = [
        crowd.submit(worker.scores, scorer, (CONTEXT, [text], "assistant"), Ticket()) for text in ("a", "poison", "b")
    ]
    waiting(worker, 3)
    gate.set()
    assert asked[0].result(10) == [{"text": "a"}]
    assert asked[2].result(10) == [{"text": "b"}]
    with pytest.raises(ValueError, match="cannot be judged"):
        asked[1].result(10)


def test_too_few_answers_for_a_batch_are_never_handed_to_the_wrong_request(worker, gate, crowd):
    class Short(Together):
        def scores_many(self, asked):
            return super().scores_many(asked)[1:]

    hold(worker, gate, crowd)
    scorer = Short()
    asked = [crowd.submit(worker.scores, scorer, (CONTEXT, [text], "assistant"), Ticket()) for text in "abc"]
    waiting(worker, 3)
    gate.set()
    assert [each.result(10) for each in asked] == [[{"text": text}] for text in "abc"]


def test_who_gives_up_waits_no_longer_and_what_was_asked_is_not_done(worker, gate, crowd):
    hold(worker, gate, crowd)
    ticket, ran = Ticket(), []
    asked = crowd.submit(worker.call, lambda: ran.append("given up"), ticket)
    time.sleep(0.02)
    ticket.cancel()
    with pytest.raises(GivenUp):
        asked.result(5)  # while the gate is closed
    gate.set()
    assert worker.call(lambda: 7, Ticket()) == 7
    assert ran == []
    with pytest.raises(GivenUp):
        worker.call(lambda: ran.append("over"), ticket)
    assert ran == []


@pytest.mark.parametrize("worker", [{"stall_seconds": 0.2}], indirect=True)
def test_a_call_that_hangs_has_failed_and_another_thread_goes_on(worker, gate, crowd):
    with pytest.raises(Stalled):
        worker.call(lambda: gate.wait(30), Ticket())
    assert worker.call(lambda: 7, Ticket()) == 7
    gate.set()
    assert worker.call(lambda: 8, Ticket()) == 8


@pytest.mark.parametrize("worker", [{"stall_seconds": 0.1}], indirect=True)
def test_past_a_few_that_hang_nothing_is_run_until_one_comes_back(worker, gate):
    for _ in range(MAX_HUNG + 1):
        with pytest.raises(Stalled):
            worker.call(lambda: gate.wait(30), Ticket())
    with pytest.raises(Stalled, match=f"{MAX_HUNG + 1} threads hang"):
        worker.call(lambda: 7, Ticket())
    gate.set()
    until = time.monotonic() + 10
    while True:
        try:
            assert worker.call(lambda: 7, Ticket()) == 7
            break
        except Stalled:
            assert time.monotonic() < until
            time.sleep(0.01)


def test_a_generator_that_hangs_fails_its_requests_and_the_next_is_served(tiny_model, gate, crowd):
    hangs = [True]

    class Hanging:
        config, generation_config = tiny_model[0].config, tiny_model[0].generation_config

        def __call__(self, input_ids, **given):
            if hangs[0] and input_ids.shape[1] == 1:
                hangs[0] = False
                gate.wait(30)
            return tiny_model[0](input_ids=input_ids, **given)

    generator = LocalGenerator("tiny", Hanging(), tiny_model[1])
    worker = ModelWorker(generator, stall_seconds=0.5)
    asked = [crowd.submit(worker.sample, order(n=2, seed=i)) for i in range(3)]
    for each in asked:
        assert each.exception(20) is None or isinstance(each.exception(), Stalled)
    assert any(each.exception() for each in asked)
    alone = order(n=3, seed=9)
    assert worker.sample(order(n=3, seed=9)) == generator.sample(alone.messages, 3, alone.sampling)
    gate.set()
    worker.close()


def test_once_closed_who_waits_is_told_and_nothing_more_is_taken(gate, crowd):
    worker = ModelWorker()
    hold(worker, gate, crowd)
    asked = crowd.submit(worker.call, lambda: 7, Ticket())
    time.sleep(0.02)
    worker.close()
    with pytest.raises(GivenUp):
        asked.result(5)
    with pytest.raises(GivenUp):
        worker.call(lambda: 7, Ticket())
