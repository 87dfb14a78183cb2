"""What counts as a claim: facts, also inside opinions and chat phrases; and what does not."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import claims
from retrieval.claims import features, is_claim, probability

TEXT = st.text(max_size=300) | st.text(alphabet="aI' 1,.:?!-*\u00e9\u0000\ud800\n", max_size=300)


@pytest.mark.parametrize(
    "sentence",
    [
        "The capital of Kenya is Nairobi.",
        "Sure, the capital of Kenya is Nairobi.",
        "No, Kenya borders Ethiopia.",
        "It has 47 counties.",
        "Perhaps Kenya has 47 counties.",
        "Lemon juice is a good source of vitamin C.",
        "**Kenya** has 47 counties.",
    ],
)
def test_a_statement_about_the_world_is_a_claim(sentence: str) -> None:
    assert is_claim(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "I love that Kenya has exactly 47 of them.",
        "I think the capital is Nairobi.",
        "I'm not sure, but I believe Kenya borders Ethiopia.",
        "Did you know that Kenya has 47 counties?",
        "What a lovely country, and Kenya has 47 counties!",
    ],
)
def test_a_fact_inside_an_opinion_or_a_chat_phrase_is_a_claim(sentence: str) -> None:
    assert is_claim(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "What is the capital?",
        "Hello there, my friend!",
        "Thank you so much for asking.",
        "I think you would love it.",
        "I'm sorry to hear about your trouble.",
        "That's a great question!",
        "Let me know if you need more help.",
        "Please try it again.",
        "It depends.",
        "Maybe.",
        "Yes, of course!",
        "",
        "...",
    ],
)
def test_what_says_nothing_checkable_is_no_claim(sentence: str) -> None:
    assert not is_claim(sentence)


def test_a_short_answer_claims_more_after_a_question() -> None:
    assert probability("Mali.", "Where is Timbuktu?") > probability("Mali.")


def test_every_feature_has_a_weight_and_every_weight_a_feature() -> None:
    file = Path(claims.__file__).with_name("claims.json")
    assert set(json.loads(file.read_text(encoding="utf-8"))["weights"]) == set(features("Kenya has lions."))


@given(TEXT, TEXT)
def test_any_text_can_be_judged(text: str, before: str) -> None:
    assert is_claim(text, before) in (True, False)
    assert 0 <= probability(text, before) <= 1


@given(st.text(alphabet=' .,;:!?-*_\n\t"()', max_size=300))
def test_what_holds_no_letter_and_no_digit_is_no_claim(text: str) -> None:
    assert not is_claim(text, "Where is Timbuktu?")


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "1",
        "1.",
        "1,",
        "'",
        "a'",
        "a-",
        " ",
        "? ",
        "I think ",
        "yes, ",
        "yes ",
        ",",
        "*",
        "isn't it ",
        "my ",
        "- ",
        "é",
    ],
)
def test_a_hundred_thousand_characters_take_seconds_not_minutes(unit: str) -> None:
    text = unit * (100_000 // len(unit))
    began = time.process_time()
    is_claim(text, text)
    assert time.process_time() - began < 5  # work in the square takes minutes
