from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.arithmetic import NoSum
from retrieval.sums import evaluate, tokens


@given(st.text() | st.text(alphabet="0123456789.,+-*/^%()!√$ xkmintof'\n", max_size=60))
def test_tokens_tile_the_text_but_for_white_space(text):
    at = 0
    for token in tokens(text):
        assert text[at : token.start].strip() == ""
        assert at <= token.start < token.end
        assert text[token.start : token.end] == token.text
        at = token.end
    assert text[at:].strip() == ""


def kinds(text):
    return [token.kind for token in tokens(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3 km in miles", ["number", "into"]),
        ("12 in in cm", ["number", "into"]),
        ("135 in total", ["number", "word", "word"]),
        ("15% of 80", ["number", "operator", "number"]),
        ("half of 80", ["word", "word", "number"]),
        ("√(9)!", ["root", "open", "number", "close", "after"]),
        ("3.2.1", ["word"]),
        ("5th", ["word"]),
        ("1,5", ["word"]),
        ("one two", ["word", "number"]),
    ],
)
def test_what_a_word_is_depends_on_what_stands_before_it(text, expected):
    assert kinds(text) == expected


@given(st.integers(0, 10**12 - 1))
def test_digits_with_thousands_separators_are_one_number(number):
    (token,) = tokens(f"{number:,}")
    assert token.value.number == number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("zero", 0),
        ("nineteen", 19),
        ("twenty five", 25),
        ("ninety-nine", 99),
        ("a hundred", None),
        ("three hundred and five", 305),
        ("two million three hundred thousand and one", 2_300_001),
        ("2.5 million", 2_500_000),
    ],
)
def test_numbers_in_words_are_numbers(text, number):
    found = tokens(text)
    assert (found[0].value.number if len(found) == 1 else None) == number


def test_a_lone_quantity_has_no_steps_and_each_operation_is_one():
    assert evaluate(tokens("5 ft 11 in")).steps == 0
    assert evaluate(tokens("-5")).steps == 0
    assert evaluate(tokens("3 + 4 * 5")).steps == 2
    assert evaluate(tokens("3 km in m")).steps == 1


def test_powers_bind_before_products_and_products_before_sums():
    assert evaluate(tokens("2 + 3 * 4 ^ 2 - 10 / 5")).value == Fraction(48)
    assert evaluate(tokens("-3 ^ 2")).value == -9
    assert evaluate(tokens("2 ^ 3 ^ 2")).value == 512


@pytest.mark.parametrize("text", ["", "hello", "3 +", "3 4", "(3", "3)", "2(3)", "√", "√ + 3", "3 + hello", "3 km 4"])
def test_what_is_not_whole_is_no_sum(text):
    with pytest.raises(NoSum):
        evaluate(tokens(text))
