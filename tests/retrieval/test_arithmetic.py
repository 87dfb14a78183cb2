from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from retrieval import arithmetic
from retrieval.arithmetic import NoSum, Percent, digits, printed

FRACTIONS = st.fractions(max_denominator=10**9)


@given(FRACTIONS, st.integers(0, 14), st.integers(1, 14))
def test_printed_digits_are_the_number_to_the_digits_shown(number, places, significant):
    text = digits(number, places, significant)
    assert "e" not in text.lower()
    assert text not in ("-0", "")
    shown = Fraction(text)
    exact = (number * 10**places).denominator == 1
    assert shown == number if exact else abs(shown - number) <= max(abs(number) / 10 ** (significant - 1), 0) / 2


@given(st.fractions(min_value=0, max_denominator=10**6), st.integers(2, 7))
def test_the_root_of_a_power_is_exact(number, degree):
    assume(number < 10**20)
    assert arithmetic.root(arithmetic.power(number, Fraction(degree)), degree) == number


@given(st.fractions(min_value=Fraction(1, 10**6), max_value=10**12), st.integers(2, 7))
def test_a_root_is_right_to_thirty_digits(number, degree):
    assert abs(arithmetic.root(number, degree) ** degree - number) <= number / 10**30


def test_an_odd_root_of_a_negative_number_is_negative_and_an_even_one_is_none():
    assert arithmetic.root(Fraction(-27), 3) == -3
    with pytest.raises(NoSum):
        arithmetic.root(Fraction(-4))


@pytest.mark.parametrize("operation", [arithmetic.add, arithmetic.subtract, arithmetic.multiply, arithmetic.divide])
def test_what_has_more_than_five_hundred_digits_is_refused(operation):
    large = Fraction(10) ** 500
    with pytest.raises(NoSum):
        operation(large * 10**100, Fraction(1, 10**300) if operation is arithmetic.divide else large)


def test_a_percentage_moves_a_number_by_its_share():
    assert arithmetic.add(Fraction(80), Percent(Fraction(15, 100))) == 92
    assert arithmetic.off(Percent(Fraction(1, 5)), Fraction(80)) == 64
    with pytest.raises(NoSum):
        arithmetic.add(Percent(Fraction(15, 100)), Fraction(80))


def test_money_is_printed_to_the_cent_with_its_sign_in_front():
    assert printed(arithmetic.quantity(Fraction(-7, 2), "USD")) == "-$3.50"
    assert printed(arithmetic.quantity(Fraction(12), "EUR")) == "€12"


def test_units_that_cancel_leave_a_number_and_bits_and_degrees_remain_units():
    kilometre, metre = (arithmetic.quantity(Fraction(3), unit) for unit in ("km", "m"))
    assert arithmetic.divide(kilometre, metre) == Fraction(1000)
    assert arithmetic.is_quantity(arithmetic.bounded(arithmetic.quantity(Fraction(3), "byte")))
    assert arithmetic.is_quantity(arithmetic.bounded(arithmetic.quantity(Fraction(3), "degree")))


def test_measures_are_printed_to_six_digits_and_numbers_to_ten():
    assert printed(arithmetic.quantity(Fraction("1.23456789"), "m")) == "1.23457 m"
    assert printed(Fraction("1.23456789")) == "1.23456789"
    assert printed(Fraction(200, 3)) == "66.66666667"


def test_what_pint_gives_as_a_float_is_read_to_fifteen_digits():
    assert arithmetic.bounded(arithmetic.quantity(0.1 + 0.2, "m")).magnitude == Fraction("0.3")
    with pytest.raises(NoSum):
        arithmetic.bounded(arithmetic.quantity(float("inf"), "m"))
