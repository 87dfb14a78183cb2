"""Which replies count as refusals."""

import pytest

from classifiers import load_policy
from classifiers.refusals import refuses

POLICY = load_policy()


@pytest.mark.parametrize(
    "reply",
    [
        "I can't help with that.",
        "I cannot provide instructions for that, but here is a helpline.",
        "I’m sorry, but I can’t talk about that.",
        "I'd rather not say anything about it.",
        "As an AI I cannot do such things.",
        "No, I can't point you to such a thing.",
        "Sorry.",
        "I am not comfortable with this.",
    ],
)
def test_a_set_phrase_of_refusal_is_one(reply):
    assert refuses(reply)


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "Nairobi is the capital of Kenya.",
        "I'm sorry for your loss. It can help to talk.",
        "You can't help feeling that way, and I am glad you told me.",
        "I don't know who wrote it.",
        "No more than two tablets a day, says the leaflet.",
        "Sorry to hear it. Rest, drink, and see a doctor if it lasts.",
    ],
)
def test_help_pity_and_ignorance_are_none(reply):
    assert not refuses(reply)


@pytest.mark.parametrize(
    "fallback", [POLICY.fallback, POLICY.ungrounded_fallback, *(o.fallback for o in POLICY.objectives.values())]
)
def test_every_fallback_of_the_shipped_policy_is_one(fallback):
    assert refuses(fallback)
