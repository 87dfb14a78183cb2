"""Several calls of one request at the same time: each draws what it would alone, and one without room spoils no other."""

import pytest

from service.batching import BatchingGenerator
from service.generator import GeneratorFailed, LocalGenerator, PromptTooLong, Sampling, sample_each
from service.model_worker import ModelWorker
from service.ticket import Ticket
from tests.service.scripted import ScriptedGenerator

SHORT, OTHER, LONG = ([{"role": "user", "content": text}] for text in ("Hi", "How are you?", "x" * 600))


@pytest.fixture(params=["alone", "batched"])
def generator(request, tiny_model):
    local = LocalGenerator("tiny", *tiny_model)
    if request.param == "alone":
        yield local
        return
    worker = ModelWorker(local)
    yield BatchingGenerator(local, worker, Ticket(60))
    worker.close()


def test_each_draws_what_it_would_alone(generator):
    wanted = [(SHORT, 3, Sampling(max_tokens=40, seed=1)), (OTHER, 2, Sampling(max_tokens=9, seed=2))]
    together = sample_each(generator, wanted)
    alone = [generator.sample(*each) for each in wanted]
    assert [[c.text for c in found] for found in together] == [[c.text for c in found] for found in alone]
    assert [len(found) for found in together] == [3, 2]


def test_one_that_has_no_room_is_told_and_the_others_are_drawn(generator):
    long, short = sample_each(generator, [(LONG, 2, Sampling(max_tokens=4)), (SHORT, 2, Sampling(max_tokens=4))])
    assert isinstance(long, PromptTooLong)
    assert [c.tokens for c in short] == [4, 4]


def test_a_generator_that_can_only_be_asked_one_by_one_is_not_asked_again_when_it_has_failed():
    def says(messages, n, sampling):
        if messages == OTHER:
            raise GeneratorFailed("gone", 502, "gone")
        return ["Hello."] * n

    scripted = ScriptedGenerator(says)
    first, second, third = sample_each(scripted, [(each, 1, Sampling()) for each in (SHORT, OTHER, SHORT)])
    assert [c.text for c in first] == ["Hello."]
    assert isinstance(second, GeneratorFailed)
    assert third is second
    assert len(scripted.calls) <= 2
