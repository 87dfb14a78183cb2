"""Words for units: which ones are known, and the unit of pint that each names.

Knows spellings. Conversion is pint's. Does not know numbers or sums. The list is closed on purpose: pint alone would take
"dad" for a decaday and "a" for a year, and find sums in ordinary sentences.
"""

import re
from functools import cache
from typing import Any

# unit of pint: its spellings. A spelling of up to three letters is a symbol and keeps its case; a longer one does not.
_TABLE = """
millimeter: mm millimetre millimetres millimeter millimeters
centimeter: cm centimetre centimetres centimeter centimeters
meter: m metre metres meter meters
kilometer: km kms kilometre kilometres kilometer kilometers
inch: in inch inches
foot: ft foot feet
yard: yd yds yard yards
mile: mi mile miles
nautical_mile: nmi nautical~mile nautical~miles
light_year: ly light~year light~years light-year light-years
milligram: mg milligram milligrams
gram: g gram grams gramme grammes
kilogram: kg kgs kilogram kilograms kilo kilos
metric_ton: t tonne tonnes metric~ton metric~tons
ton: ton tons
ounce: oz ounce ounces
pound: lb lbs pound pounds
stone: st stone stones
millisecond: ms millisecond milliseconds
second: s sec secs second seconds
minute: min mins minute minutes
hour: h hr hrs hour hours
day: day days
week: week weeks
month: month months
year: yr yrs year years
milliliter: ml mL millilitre millilitres milliliter milliliters
centiliter: cl cL centilitre centilitres centiliter centiliters
liter: l L litre litres liter liters
gallon: gal gallon gallons
quart: qt quart quarts
pint: pt pint pints
cup: cup cups
tablespoon: tbsp tablespoon tablespoons
teaspoon: tsp teaspoon teaspoons
fluid_ounce: fl~oz fluid~ounce fluid~ounces
acre: acre acres
hectare: ha hectare hectares
mile/hour: mph
kilometer/hour: kph kmh
knot: kn knot knots
degC: °C C celsius centigrade degrees~celsius degrees~centigrade degrees~C degree~celsius deg~C
degF: °F F fahrenheit degrees~fahrenheit degrees~F degree~fahrenheit deg~F
kelvin: K kelvin kelvins
degree: degree degrees
radian: rad radian radians
joule: J joule joules
kilojoule: kJ kilojoule kilojoules
calorie: cal calorie calories
kilocalorie: kcal kilocalorie kilocalories
watt_hour: Wh watt~hour watt~hours watt-hours
kilowatt_hour: kWh kilowatt~hour kilowatt~hours kilowatt-hours
watt: W watt watts
kilowatt: kW kilowatt kilowatts
megawatt: MW megawatt megawatts
horsepower: hp horsepower
newton: N newton newtons
pascal: Pa pascal pascals
kilopascal: kPa kilopascal kilopascals
bar: bar bars
psi: psi
standard_atmosphere: atm atmosphere atmospheres
hertz: Hz hertz
bit: bit bits
byte: B byte bytes
kilobyte: kB KB kilobyte kilobytes
megabyte: MB megabyte megabytes
gigabyte: GB gigabyte gigabytes
terabyte: TB terabyte terabytes
kibibyte: KiB kibibyte kibibytes
mebibyte: MiB mebibyte mebibytes
gibibyte: GiB gibibyte gibibytes
USD: dollar dollars USD
EUR: euro euros EUR
GBP: GBP
"""

CURRENCIES = {"$": "USD", "€": "EUR", "£": "GBP"}
"""Signs that stand before an amount of money, and its unit. No rate is known: amounts of two currencies do not add."""

VARYING = frozenset(
    ("gallon", "quart", "pint", "cup", "fluid_ounce", "tablespoon", "teaspoon", "ton", "month", "year", "calorie")
)
"""Units (names of pint) whose size depends on country, calendar or trade: pint takes the American one, a text may not."""


def _spellings() -> dict[str, str]:
    lines = (line.split(":") for line in _TABLE.strip().splitlines())
    return {word.replace("~", " "): name for name, words in lines for word in words.split()}


_SPELLINGS = _spellings()
_FOLDED = {word.lower(): name for word, name in _SPELLINGS.items() if len(word) > 3}
_EXPONENTS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3, "²": 2, "³": 3, "2": 2, "3": 3}


def _pattern() -> str:
    symbols = sorted((w for w in _SPELLINGS if len(w) <= 3), key=len, reverse=True)
    words = sorted((w for w in _SPELLINGS if len(w) > 3), key=len, reverse=True)
    names = f"(?:{'|'.join(map(re.escape, symbols))}|(?i:{'|'.join(map(re.escape, words))}))"
    one = rf"(?:(?i:sq|square|cu|cubic)\.?\s)?{names}(?:(?:\^|\*\*)?[23]|[²³])?(?![^\W_])"
    return rf"{one}(?:\s?(?:/|(?i:\bper\b))\s?{one})?"


PHRASE = re.compile(_pattern())
"""A unit as people write it: "km", "square feet", "m²", "kilometres per hour", "kg/m^3"."""

_ONE = re.compile(r"(?:(sq|square|cu|cubic)\.?\s)?(.+?)(?:(?:\^|\*\*)?([23])|([²³]))?", re.IGNORECASE)


@cache
def registry() -> Any:
    """The one pint registry, made at the first use, with a unit of money for each currency."""
    import pint

    made: Any = pint.UnitRegistry(cache_folder=None)
    for name in CURRENCIES.values():
        made.define(f"{name} = [{name}]")
    return made


def unit(phrase: str) -> Any:
    """The pint unit that a phrase names. Raises KeyError when it is not one that `PHRASE` matches in full."""
    if PHRASE.fullmatch(phrase) is None:
        raise KeyError(phrase)
    above, *below = re.split(r"\s?(?:/|\bper\b)\s?", phrase, flags=re.IGNORECASE)
    found = _single(above)
    return found / _single(below[0]) if below else found


def _single(phrase: str) -> Any:
    match = _ONE.fullmatch(phrase)
    if match is None:
        raise KeyError(phrase)
    before, name, *after = match.groups()
    exponent = next((part for part in (before, *after) if part), None)
    named = registry().Unit(_SPELLINGS.get(name) or _FOLDED[name.lower()])
    return named ** _EXPONENTS[exponent.lower()] if exponent else named
