"""What is a sum and what only looks like one, what it comes to, and whether a stated result is right."""

import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.calculator import Calculator, check

calculate = Calculator()

SUMS = [
    ("135+7721", "7856"),
    ("135 + 7721 =", "7856"),
    ("1,000 * 1,000", "1000000"),
    ("10/4", "2.5"),
    ("0.1 + 0.2", "0.3"),
    ("2/3", "0.6666666667"),
    ("-3 + 4", "1"),
    ("2 - -3", "5"),
    ("(3 + 4) × 5", "35"),
    ("7x8", "56"),
    ("100 − 1", "99"),
    ("17 mod 5", "2"),
    ("17 % 5", "2"),
    ("2^10", "1024"),
    ("2 ** 0.5", "1.414213562"),
    ("8^(1/3)", "2"),
    ("2^1000", str(2**1000)),
    ("5²", "25"),
    ("two to the power of three", "8"),
    ("√16 + 9", "13"),
    ("square root of 2", "1.414213562"),
    ("cube root of 27", "3"),
    ("5 factorial", "120"),
    ("three times seven", "21"),
    ("two million divided by four", "500000"),
    ("one hundred and five plus twenty-five", "130"),
    ("15% of 80", "12"),
    ("80 + 15%", "92"),
    ("80 - 15%", "68"),
    ("10% + 5%", "15%"),
    ("20% off $80", "$64"),
    ("$10 / 3", "$3.33"),
    ("$3 - $5", "-$2"),
    ("1 / 10^20", "0.00000000000000000001"),
]


@pytest.mark.parametrize(("text", "result"), SUMS)
def test_a_sum_alone_is_computed_and_printed_plainly(text, result):
    assert calculate(text) == [result]


MEASURED = [
    ("3 km in miles", "1.86411 miles"),
    ("100 F to C", "37.7778 C"),
    ("-40 F to C", "-40 C"),
    ("5 ft 11 in in cm", "180.34 cm"),
    ("5'11\" in cm", "180.34 cm"),
    ("12 in to cm", "30.48 cm"),
    ("1 hour and 30 minutes in seconds", "5400 seconds"),
    ("90 km/h in mph", "55.9234 mph"),
    ("100 square feet in m²", "9.2903 m²"),
    ("2 GB in MB", "2000 MB"),
    ("1 light year in km", "9460730472580.8 km"),
    ("convert 5 kg to pounds", "11.0231 pounds"),
    ("how many miles is 3 km?", "1.86411 miles"),
    ("How many feet are in a mile?", "5280 feet"),
    ("3 km + 200 m", "3.2 km"),
    ("60 km / 2 h", "30 km/h"),
    ("4 m * 5 m", "20 m²"),
    ("3 km / 500 m", "6"),
    ("15% of $80", "$12"),
]


@pytest.mark.parametrize(("text", "result"), MEASURED)
def test_units_are_converted_and_carried(text, result):
    assert calculate(text) == [result]


ASKED = [
    ("What is 135+7721?", ["7856"]),
    ("how much is 12% of 250?", ["30"]),
    ("Hi! Can you tell me what 135+7721 is?", ["7856"]),
    ("What's 12*12", ["144"]),
    ("What is 5!?", ["120"]),
    ("What is 2 + 3!", ["5"]),
    ("What is 10-3?", ["7"]),
    ("Please calculate 6 × 7.", ["42"]),
    ("What is 100+35 in total?", ["135"]),
    ("12 is what percent of 80?", ["15%"]),
    ("What percentage of 80 is 12?", ["15%"]),
    ("What is 2 + 2? What is 3 + 3?", ["4", "6"]),
]


@pytest.mark.parametrize(("text", "results"), ASKED)
def test_a_sum_that_a_text_asks_for_is_computed(text, results):
    assert calculate(text) == results


NO_SUMS = [
    "",
    "hello",
    "What happened in 1914-1918?",
    "1914-1918",
    "call 555-1234",
    "555-1234",
    "1-800-555-1234",
    "Boeing 747-400",
    "2024-05-01",
    "12/11/2024",
    "24/7",
    "What is 24/7?",
    "What is 9/11?",
    "version 3.2",
    "192.168.1.1",
    "007-05",
    "C++ 11 + 2",
    "5",
    "-5",
    "15%",
    "1,000",
    "1,5 + 2",
    "Wow, 5!",
    "I went there 3 times 2 years ago.",
    "100 m in 9.58 s",
    "10 days in a year",
    "5 min to go",
    "what is 5 km?",
    "3 km in kg",
    "3 km + 5",
    "3 GB + 5",
    "$3 + €4",
    "2 * 20 C",
    "What is 10 + 3 in the film?",
    "3 + ",
    "+",
    "()",
    "5 5",
    "sqrt",
    "sqrt - 3",
    "1 / 0",
    "√(2 - 3)",
    "__import__('os')",
    "n0 + n1",
]


@pytest.mark.parametrize("text", NO_SUMS)
def test_what_is_no_sum_gives_nothing(text):
    assert calculate(text) == []


BOMBS = [
    "9**9**9",
    "9^9^9^9",
    "((((9^9)^9)^9)^9)",
    "2^100000",
    "0.1^-9999",
    "99999!",
    "9!!!!",
    "9" * 100 + " + 1",
    "(" * 1000 + "1" + ")" * 1000,
    "-" * 1500 + "1",
    "1" + "+1" * 700,
    "9^500 * 9^500 * 9^500 * 9^500",
    "√" * 1000 + "2",
    "1+" * 5_000_000,
    "9" * 10_000_000,
    "what is " * 1_250_000,
]


@pytest.mark.parametrize("text", BOMBS, ids=range(len(BOMBS)))
def test_what_would_take_long_gives_nothing(text):
    assert calculate(text) == []


@given(st.text(max_size=80) | st.text(alphabet="0123456789.,+-*/^%()!√$ xkmin to of=?", max_size=60))
def test_any_string_gives_plain_strings_and_no_error(text):
    results = calculate(text)
    assert all(isinstance(result, str) and result for result in results)
    assert not any(re.search(r"\d[eE][+-]?\d", result) for result in results)
    check(text)


WHOLE = st.integers(-(10**30), 10**30)


@given(WHOLE, WHOLE)
def test_whole_numbers_are_exact(a, b):
    assert calculate(f"({a}) + ({b}) =") == [str(a + b)]
    assert calculate(f"({a}) - ({b}) =") == [str(a - b)]
    assert calculate(f"({a}) * ({b}) =") == [str(a * b)]


@given(st.fractions(min_value=Fraction(1, 10**6), max_value=10**9, max_denominator=10**6))
def test_a_quotient_is_right_to_ten_significant_digits(value):
    (result,) = calculate(f"{value.numerator} / ({value.denominator} * 1)")
    assert abs(Fraction(result) - value) <= value / 10**9


def verdict(claim):
    checked = check(claim)
    return None if checked is None else checked.right


STATED = [
    ("12% of 250 is 30.", True),
    ("12% of 250 is 31.", False),
    ("5 plus 7 equals 13", False),
    ("5 plus 7 equals 12", True),
    ("135 + 7721 = 7,856", True),
    ("135 + 7721 is 7857.", False),
    ("135 + 7721 is about 7,900.", True),
    ("135 + 7721 is about 7,000.", False),
    ("So 17 * 3 = 51 and that is it.", True),
    ("Area = 3 * 4 = 12", True),
    ("10 / 3 is 3.33", True),
    ("10 / 3 is 3.34", False),
    ("10 / 3 is 3", False),
    ("10 / 3 is about 3", True),
    ("1/3 is 33%", True),
    ("3/4 is 70%", False),
    ("15% of $80 is $12", True),
    ("$10 / 4 is $2.40", False),
    ("3 km is about 1.86 miles", True),
    ("3 km is about 2 miles", True),
    ("3 km is 1.5 miles", False),
    ("5 miles is 8 km.", True),
    ("2 km is 1 mile.", False),
    ("100 F is 38 C", True),
    ("A mile is about 1.6 km.", True),
    ("2 hours is 100 minutes", False),
]


@pytest.mark.parametrize(("claim", "right"), STATED)
def test_a_stated_result_is_right_or_wrong(claim, right):
    assert verdict(claim) is right


UNCHECKED = [
    "The capital of Kenya is Nairobi.",
    "2 + 2 is not 5",
    "2 + 2 is 4 times more",
    "135 + 7721 is more than 7000",
    "x + 3 is 5",
    "x + 3 * 2 is 10",
    "A score of 10-3 is 7.",
    "12 * 2 is 24 eggs fewer",
    "The 3 km is 2 km.",
    "the sum of 3, 4 + 5 is 12",
    "The Boeing 747-400 is 70 m long.",
    "1914-1918 is 4",
    "A pint is 568 ml.",
    "A month is 31 days.",
    "3 km is 2 km longer",
    "5 km is 2 hours away",
    "5 km is 5 kg",
    "Kenya has 47 counties.",
    "3 + 4 = 7" * 1000,
]


@pytest.mark.parametrize("claim", UNCHECKED)
def test_what_states_no_result_beyond_doubt_is_not_judged(claim):
    assert check(claim) is None


def test_a_checked_claim_names_its_span_and_the_true_result():
    claim = "Well, 5 plus 7 equals 13, I think."
    checked = check(claim)
    assert checked is not None
    assert claim[checked.start : checked.end] == "5 plus 7 equals 13"
    assert (checked.calculation, checked.stated, checked.computed) == ("5 plus 7", "13", "12")


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(-5, 5))
def test_a_stated_sum_is_right_when_it_is_the_sum(a, b, error):
    assert verdict(f"{a} + {b} is {a + b + error}.") is (error == 0) or a + b + error < 0
