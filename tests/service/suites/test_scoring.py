"""Exchanges in, scores out: each in its own context and role, whatever is judged together."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers.labelled import Example
from service.suites.scoring import TOGETHER
from service.suites.scoring import scores_of as scores_of_each
from tests.service.scripted import JudgingSafety, scores_of


def example(id, role="assistant"):
    return Example(id, (("user", "Hello?"),), id, role, False, frozenset(), True, id, "own", "test")


def test_every_exchange_is_judged_in_its_context_and_role_and_told_to_the_progress():
    safety, steps = JudgingSafety(), []
    scores_of_each(safety, [example("a"), example("b", role="user")], steps.append)
    assert safety.calls == [([("user", "Hello?")], ["a"], "assistant"), ([("user", "Hello?")], ["b"], "user")]
    assert steps == [1, 1]


@settings(max_examples=40)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["", "Hello?", "Why?"]), st.sampled_from(["user", "assistant"]), st.text(max_size=6)),
        max_size=80,
    )
)
def test_each_exchange_gets_its_own_scores_in_the_order_given_and_few_are_judged_at_once(rows):
    """Whatever is put together: a score here says which context, role and reply it was made from."""
    keys = {row: i / (len(rows) + 1) for i, row in enumerate(sorted(set(rows)))}

    def scores(context, texts, role):
        return [scores_of(hate=keys[context[0][1] if context else "", role, text]) for text in texts]

    safety, steps = JudgingSafety(scores), []
    examples = [
        replace(example(str(i)), reply=reply, context=(("user", asked),) if asked else (), role=role)
        for i, (asked, role, reply) in enumerate(rows)
    ]
    found = scores_of_each(safety, examples, steps.append)
    assert [row["hate"] for row in found] == [keys[row] for row in rows]
    assert sum(steps) == len(rows)
    assert all(len(texts) <= TOGETHER for _, texts, _ in safety.calls)
    contexts = {(asked, role) for asked, role, _ in rows}
    assert len(safety.calls) <= len(contexts) + len(rows) // TOGETHER


def test_a_classifier_that_answers_for_too_few_is_an_error_and_not_a_shift():
    safety = JudgingSafety(lambda context, texts, role: [scores_of() for _ in texts[1:]])
    with pytest.raises(ValueError, match="shorter"):
        scores_of_each(safety, [example("a"), example("b")])
