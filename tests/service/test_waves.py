"""What is drawn comes out judged; no two draws of any request share a seed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers import judge
from service.clock import Clock
from service.evidence import look_up
from service.generator import GeneratorFailed, PromptTooLong, Sampling
from service.waves import Waves
from tests.service.scripted import ASKS_KENYA, ASKS_NOTHING, GLAD, INDEX, POLICY, ScriptedGenerator, scores_of

HITS = look_up(INDEX, "What is the capital of Kenya?", 0.5)


def waves(generator, unsafe=(), messages=ASKS_KENYA, candidates=4, seed=1):
    def screen(texts):
        return [judge(scores_of(violence=0.9 if text in unsafe else 0.01), POLICY) for text in texts]

    return Waves(generator, screen, messages, candidates, Sampling(), seed, "Be kind.", Clock())


@given(st.lists(st.integers(0, 2**53), min_size=1, max_size=3, unique=True))
def test_no_two_draws_share_a_seed(seeds):
    generator = ScriptedGenerator(["bomb"])
    for seed in seeds:
        made = waves(generator, unsafe=["bomb"], seed=seed)
        made.draft(HITS)
        for number in range(1, 5):
            made.more(HITS, number)
    drawn = [call.sampling.seed for call in generator.calls]
    assert len(drawn) == len(set(drawn)) == 8 * len(seeds)
    assert max(drawn) < 2**63


@pytest.mark.parametrize(("candidates", "half"), [(1, 1), (2, 1), (3, 2), (16, 8), (63, 32)])
def test_a_round_of_research_draws_half_as_many_all_with_the_evidence(candidates, half):
    generator = ScriptedGenerator([GLAD])
    made = waves(generator, candidates=candidates)
    made.draft([])
    drawn = made.more(HITS, 2)
    assert [(j.with_evidence, j.attempt, j.round) for j in drawn] == [(True, 0, 2)] * half
    assert generator.calls[-1].n == half
    assert "Nairobi" in generator.calls[-1].asked


def test_candidates_of_a_round_are_judged_like_those_of_the_draft():
    made = waves(
        ScriptedGenerator(lambda messages, n, sampling: [GLAD] * n if sampling.seed < 2**60 else ["bomb"] * n), ["bomb"]
    )
    assert all(j.kept for j in made.draft(HITS))
    assert not any(j.kept for j in made.more(HITS, 1))


def test_research_after_a_steered_draft_is_steered_too():
    generator = ScriptedGenerator(lambda messages, n, sampling: ["bomb" if messages[0]["role"] == "user" else GLAD] * n)
    made = waves(generator, ["bomb"], ASKS_NOTHING)
    assert [j.attempt for j in made.draft([]) if j.kept] == [1] * 4
    assert [j.attempt for j in made.more(HITS, 1)] == [1, 1]
    assert generator.calls[-1].messages[0] == {"role": "system", "content": "Be kind."}


def test_what_is_asked_for_is_counted_and_what_had_no_room_is_not():
    made = waves(ScriptedGenerator(lambda messages, n, sampling: [GLAD] * (n - 1), limit=10))
    assert (len(made.draft(HITS)), made.asked) == (2, 4)  # one short in each half
    made = waves(ScriptedGenerator(["bomb"]), ["bomb"])
    assert (len(made.draft(HITS)), made.asked) == (8, 8)
    assert (len(made.more(HITS, 1)), made.asked) == (2, 10)


def failing(at):
    """A generator whose `at`-th call fails."""

    def says(messages, n, sampling):
        calls.append(n)
        if len(calls) == at:
            raise GeneratorFailed("gone", 502, "gone")
        return ["bomb"] * n

    calls = []
    return ScriptedGenerator(says)


@pytest.mark.parametrize(("at", "drawn", "attempts"), [(2, 6, 2), (3, 4, 1), (4, 6, 2)])
def test_a_generator_that_fails_later_leaves_what_came_before(at, drawn, attempts):
    made = waves(failing(at), ["bomb"])
    assert (len(made.draft(HITS)), made.attempts) == (drawn, attempts)


@pytest.mark.parametrize("hits", [HITS, []])
def test_a_generator_that_fails_at_once_is_told_to_the_caller(hits):
    with pytest.raises(GeneratorFailed):
        waves(failing(1)).draft(hits)


def test_a_generator_that_gives_nothing_is_asked_once_more_and_then_there_is_nothing():
    made = waves(ScriptedGenerator(lambda messages, n, sampling: []))
    assert (made.draft(HITS), made.attempts) == ([], 2)


def test_evidence_without_room_is_told_to_the_caller():
    made = waves(ScriptedGenerator([GLAD], limit=10))
    assert len(made.draft(HITS)) == 4
    with pytest.raises(PromptTooLong):
        made.more(HITS, 1)
