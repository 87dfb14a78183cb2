"""The first rule for what is a claim."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.claims import is_claim


@pytest.mark.parametrize(
    "sentence",
    [
        "The capital of Kenya is Nairobi.",
        "Sure, the capital of Kenya is Nairobi.",
        "No, Kenya borders Ethiopia.",
        "It has 47 counties.",
        "Perhaps Kenya has 47 counties.",
        "Lemon juice is a good source of vitamin C.",
        "It is a good source of vitamin C.",
        "**Kenya** has 47 counties.",
    ],
)
def test_a_statement_about_the_world_is_a_claim(sentence: str) -> None:
    assert is_claim(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "What is the capital of Kenya?",
        'Did you ask "where is Kenya?"',
        "Hello there, my friend!",
        "Thank you for asking about Kenya.",
        "I think Kenya is lovely.",
        "I'm sorry to hear about your trouble.",
        "In my opinion lions beat tigers.",
        "That's a great question!",
        "It is a good idea to visit Kenya.",
        "Let me know if you need more facts.",
        "Please try restarting the computer.",
        "You can ask a doctor about medicine.",
        "Here are some facts about Kenya.",
        "The neighbours of Kenya are:",
        "It depends.",
        "Maybe.",
        "Nairobi.",
        "Yes, of course!",
        "",
        "...",
    ],
)
def test_what_says_nothing_checkable_is_no_claim(sentence: str) -> None:
    assert not is_claim(sentence)


@given(st.text(max_size=300))
def test_any_text_can_be_judged(text: str) -> None:
    assert is_claim(text) in (True, False)
    assert not is_claim(text + "?")
