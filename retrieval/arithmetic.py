"""Numbers with and without units: the operations of a sum, each bounded, and how a result is printed.

Knows values. Does not know how a sum is written. A value is a Fraction (so that decimals stay exact), a `Percent`, or a
pint quantity whose magnitude is a Fraction.
"""

import math
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import Any

from retrieval.units import CURRENCIES, registry

Value = Any
"""Fraction, Percent or pint quantity; pint has no static type for the last."""

_LARGEST_BITS = 1700  # about 500 digits, above or below the fraction bar
_LARGEST_FACTORIAL = 250  # 493 digits
# (decimal places up to which a value is printed exactly, significant digits otherwise): numbers, and those with units
_PLAIN, _MEASURED = (12, 10), (6, 6)
_LARGEST_DEGREE = 12
_PRECISE = Context(prec=40, rounding=ROUND_HALF_EVEN)
_SIGNS = {name: sign for sign, name in CURRENCIES.items()}


class NoSum(ValueError):
    """What was given cannot be computed, or not within the bounds."""


@dataclass(frozen=True)
class Percent:
    """A share written as a percentage: 15% has the share 3/20."""

    share: Fraction


def quantity(magnitude: Fraction, unit: Any) -> Value:
    """So much of a pint unit."""
    return registry().Quantity(magnitude, unit)


def is_quantity(value: Value) -> bool:
    """Whether a value has a unit."""
    return not isinstance(value, Fraction | Percent)


def add(a: Value, b: Value) -> Value:
    """a + b; a percentage added to a number is that share of the number."""
    return _moved(a, b, 1)


def subtract(a: Value, b: Value) -> Value:
    """a - b; a percentage taken from a number is that share of the number."""
    return _moved(a, b, -1)


def _moved(a: Value, b: Value, sign: int) -> Value:
    if isinstance(a, Percent):
        if not isinstance(b, Percent):
            raise NoSum("a number cannot be added to a percentage")
        return Percent(bounded(a.share + sign * b.share))
    if isinstance(b, Percent):
        return multiply(a, 1 + sign * b.share)
    if is_quantity(a) != is_quantity(b):
        raise NoSum("a number cannot be added to a quantity")
    return bounded(a + sign * b)


def multiply(a: Value, b: Value) -> Value:
    """a * b."""
    return bounded(_number(a) * _number(b))


def divide(a: Value, b: Value) -> Value:
    """a / b. Raises ZeroDivisionError."""
    return bounded(_number(a) / _number(b))


def remainder(a: Value, b: Value) -> Value:
    """a mod b, with the sign of b, of numbers without units."""
    return bounded(_plain_number(a) % _plain_number(b))


def off(share: Value, price: Value) -> Value:
    """ "20% off 80": the price less its share."""
    if not isinstance(share, Percent):
        raise NoSum("only a percentage is taken off")
    return subtract(price, share)


def negative(a: Value) -> Value:
    """-a."""
    return Percent(-a.share) if isinstance(a, Percent) else -a


def power(base: Value, exponent: Value) -> Value:
    """base ** exponent: exact for whole exponents and for roots that come out even, to 40 digits otherwise."""
    base, exponent = _number(base), _plain_number(exponent)
    if is_quantity(base):
        if exponent not in (2, 3):
            raise NoSum("a unit has no such power")
        return bounded(base ** int(exponent))
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(exponent) * (bits - 1) > _LARGEST_BITS:
        raise NoSum("too large")
    if exponent.denominator == 1:
        return bounded(base**exponent.numerator)
    if exponent.denominator <= _LARGEST_DEGREE:
        return root(power(base, Fraction(exponent.numerator)), exponent.denominator)
    if base <= 0:
        raise NoSum("no real power")
    return bounded(Fraction(_PRECISE.power(_decimal(base), _decimal(exponent))))


def _decimal(number: Fraction) -> Decimal:
    return _PRECISE.divide(Decimal(number.numerator), Decimal(number.denominator))


def root(value: Value, degree: int = 2) -> Value:
    """The real root of a number at least 0 (of any number for an odd degree): exact where it is rational."""
    number = _plain_number(value)
    if number < 0:
        if degree % 2 == 0:
            raise NoSum("no real root")
        return -root(-number, degree)
    if number == 0 or degree == 1:
        return number
    above, below = (_decimal_root(part, degree) for part in (number.numerator, number.denominator))
    near = Fraction(round(above), round(below))
    if power(near, Fraction(degree)) == number:
        return near
    return bounded(Fraction(_PRECISE.divide(above, below)))


def _decimal_root(whole: int, degree: int) -> Decimal:
    if degree == 2:
        return _PRECISE.sqrt(Decimal(whole))
    return _PRECISE.power(Decimal(whole), _PRECISE.divide(Decimal(1), Decimal(degree)))


def factorial(value: Value) -> Value:
    """n! of a whole number from 0 to 250."""
    number = _plain_number(value)
    if number.denominator != 1 or not 0 <= number <= _LARGEST_FACTORIAL:
        raise NoSum("no factorial, or too large")
    return Fraction(math.factorial(number.numerator))


def convert(value: Value, unit: Any) -> Value:
    """A quantity in another unit. Raises pint.PintError when it measures something else."""
    if not is_quantity(value):
        raise NoSum("a number without a unit has no other unit")
    return bounded(value.to(unit))


def bounded(value: Value) -> Value:
    """The value, exact where it can be: magnitudes as fractions, quantities whose units cancel as numbers.

    What pint gives as a float is read to 15 significant digits. Raises `NoSum` when the value has
    more than about 500 digits or is not finite.
    """
    if isinstance(value, Percent):
        return value
    if isinstance(value, Fraction | int):
        number = Fraction(value)
        if max(number.numerator.bit_length(), number.denominator.bit_length()) > _LARGEST_BITS:
            raise NoSum("too large")
        return number
    if value.dimensionless and value.to_root_units().unitless:  # bits and radians have no dimension, but are units
        return bounded(_exact(value.to("dimensionless").magnitude))
    return quantity(bounded(_exact(value.magnitude)), value.units)


def _exact(magnitude: Any) -> Fraction:
    if isinstance(magnitude, float):
        if not math.isfinite(magnitude):
            raise NoSum("too large")
        return Fraction(f"{magnitude:.15g}")
    return Fraction(magnitude)


def _number(value: Value) -> Value:
    return value.share if isinstance(value, Percent) else value


def _plain_number(value: Value) -> Fraction:
    number = _number(value)
    if not isinstance(number, Fraction):
        raise NoSum("a unit where a number is needed")
    return number


def printed(value: Value, unit: str = "") -> str:
    """A value in plain digits, never with an exponent: decimals of up to twelve places (six with a unit) exactly, others to
    ten significant digits (six with a unit), money to the cent. `unit` is how the unit was written, if it was.
    """
    if isinstance(value, Percent):
        return f"{digits(value.share * 100, *_PLAIN)}%"
    if not is_quantity(value):
        return digits(value, *_PLAIN)
    name = str(value.units)
    if name in _SIGNS:
        amount = digits(abs(value.magnitude), *_PLAIN) if value.magnitude.denominator == 1 else _cents(value.magnitude)
        return f"{'-' if value.magnitude < 0 else ''}{_SIGNS[name]}{amount}"
    shown = unit or f"{value.units:~P}"
    return f"{digits(value.magnitude, *_MEASURED)} {shown}"


def _cents(amount: Fraction) -> str:
    whole = round(abs(amount) * 100)
    return f"{whole // 100}.{whole % 100:02d}"


def digits(number: Fraction, places: int, significant: int) -> str:
    """A number in plain digits: exactly where so many decimal places are enough, else rounded to so many significant
    digits, the whole part always in full.
    """
    sign, number = ("-" if number < 0 else ""), abs(number)
    if (number * 10**places).denominator != 1:
        size = _magnitude(number)
        places = max(0, significant - 1 - size)
    scaled = round(number * 10**places)
    whole, part = divmod(scaled, 10**places)
    decimals = f"{part:0{places}d}".rstrip("0") if places else ""
    text = f"{whole}.{decimals}" if decimals else str(whole)
    return f"{sign if scaled else ''}{text}"


def _magnitude(number: Fraction) -> int:
    """The power of ten of the first digit of a number above 0: 0 for 5, 2 for 512, -2 for 0.05."""
    guess = len(str(number.numerator)) - len(str(number.denominator))
    return guess if number >= Fraction(10) ** guess else guess - 1
