"""How far a quote bears out a claim: high for the same fact, low as soon as a name, number, unit or negation differs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.support import CAP, coverage, names, support

TEXT = st.text(max_size=120) | st.text(alphabet="ab AB.,0123%-'not", max_size=120)
WEIGHTS = st.sampled_from([1.0, 0.0, -1.0, float("nan"), float("inf"), 1e308, 5e-324])


def even(token: str) -> float:
    return 1.0


@pytest.mark.parametrize(
    ("claim", "quote", "title"),
    [
        ("The capital of Kenya is Nairobi.", "Nairobi is the capital of Kenya.", ""),
        ("Nairobi serves as the capital city of Kenya.", "The capital of Kenya is Nairobi.", ""),
        ("The Kenyan currency is the shilling.", "The currency of Kenya is the Kenyan shilling.", ""),
        ("Kenya has 47 counties.", "It has 47 counties.", "Kenya"),
        ("Kenya has forty-seven counties.", "Kenya has 47 counties.", ""),
        ("Kenya has 54,000,000 people.", "The population of Kenya is about 54 million people.", ""),
        ("Everest is 8,849 metres high.", "Mount Everest is 8849 m high.", ""),
        ("The U.S. joined the WHO in 1948.", "The U.S. joined the WHO in 1948.", ""),
        ("The US joined the WHO.", "In 1948 the WHO's founders were joined by the U.S. at once.", ""),
        ("Kenya does not border Egypt.", "Kenya doesn't border Egypt.", ""),
    ],
)
def test_the_same_fact_is_supported(claim: str, quote: str, title: str) -> None:
    assert support(claim, quote, even, title) >= 0.6


@pytest.mark.parametrize(
    ("claim", "quote"),
    [
        ("The capital of Kenya is Mombasa.", "The capital of Kenya is Nairobi."),
        ("Mombasa is the capital of Kenya.", "Nairobi is the capital of Kenya."),
        ("Mombasa is the capital of Kenya.", "Mombasa is the second largest city of Kenya."),
        ("Mombasa is the largest city of Kenya.", "Mombasa is the second largest city of Kenya."),
        ("The capital of South Korea is Seoul.", "The capital of North Korea lies far from Seoul."),
        ("The capital of Nigeria is Niamey.", "The capital of Niger is Niamey."),
        ("Kenya has 48 counties.", "Kenya has 47 counties."),
        ("Kenya has 54 billion people.", "Kenya has 54 million people."),
        ("Everest is 8,849 feet high.", "Everest is 8,849 metres high."),
        ("Kenya does not border Tanzania.", "Kenya borders Tanzania."),
        ("Kenya became free in 1963 and joined in 1963.", "Kenya became free in 1963 and joined in 1964."),
        ("Ice is not good if it is not clean.", "Ice is good if it is not clean."),
        ("You should put ice on a burn.", "You should never put ice on a burn."),
        ("The smallest ocean is the Pacific Ocean.", "The largest ocean is the Pacific Ocean."),
        ("Water boils before 100 degrees Celsius.", "Water boils after 100 degrees Celsius."),
    ],
)
def test_a_changed_fact_is_capped(claim: str, quote: str) -> None:
    assert support(claim, quote, even) <= CAP


@given(TEXT, TEXT, TEXT, WEIGHTS)
def test_support_and_coverage_stay_between_nought_and_one(claim: str, quote: str, title: str, weight: float) -> None:
    assert 0.0 <= support(claim, quote, lambda token: weight, title) <= 1.0
    assert 0.0 <= coverage(claim, title, quote, lambda token: weight) <= 1.0


@given(TEXT)
def test_a_text_supports_itself_wholly_or_says_nothing(text: str) -> None:
    assert support(text, text, even) in (0.0, 1.0)


@pytest.mark.parametrize(("claim", "quote"), [("", "Kenya."), ("Kenya.", ""), ("", ""), ("It is.", "It is.")])
def test_nothing_is_supported_by_nothing(claim: str, quote: str) -> None:
    assert support(claim, quote, even, "Kenya") == 0.0


def test_rare_words_count_for_more() -> None:
    rare = {"flamingo": 10.0}
    quote = "flamingos are there"
    missing_common = support("pink flamingos are there", quote, lambda token: rare.get(token, 1.0))
    assert missing_common > support("pink flamingos are there", quote, even)


def test_names_are_capitalised_words_but_not_words_of_asking() -> None:
    assert names("Tell me about the Nile in Egypt") == ("nile", "egypt")
    assert names("Kenya has lions. The lions eat.") == ("kenya",)
    assert names("The prize went to Dr. Smith and J. K. Rowling.") == ("dr", "smith", "j", "k", "rowl")
    assert names("ALL OF THIS IS LOUD") == ()


def test_coverage_tells_whether_a_passage_fits_a_question() -> None:
    question = "Can you tell me what the capital of Kenya is?"
    assert coverage(question, "Kenya", "Its capital is Nairobi.", even) == 1.0
    assert coverage(question, "Peru", "Its capital is Lima.", even) == 0.5
    assert coverage("Tell me how?", "Kenya", "Tell me how.", even) == 0.0
