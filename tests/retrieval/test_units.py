import pytest

from retrieval import units
from retrieval.units import PHRASE, VARYING, registry, unit


@pytest.mark.parametrize("word", sorted(units._SPELLINGS))
def test_every_spelling_is_a_unit_of_pint(word):
    assert unit(word) == registry().Unit(units._SPELLINGS[word])


def test_no_spelling_stands_for_two_units():
    words = [word for line in units._TABLE.strip().splitlines() for word in line.split(":")[1].split()]
    assert len(words) == len(set(words))


@pytest.mark.parametrize(
    ("phrase", "same"),
    [
        ("square feet", "ft**2"),
        ("m²", "m**2"),
        ("cm^3", "cm**3"),
        ("kilometres per hour", "km/h"),
        ("kg/m3", "kg/m**3"),
        ("Miles", "mile"),
        ("degrees Celsius", "degC"),
    ],
)
def test_powers_and_quotients_of_units_are_units(phrase, same):
    assert unit(phrase) == registry().Unit(same)


@pytest.mark.parametrize("phrase", ["", "dad", "a", "KM", "km miles", "per hour", "metrex", "km/", "m/s/s"])
def test_what_is_no_unit_is_refused(phrase):
    with pytest.raises(KeyError):
        unit(phrase)


def test_a_symbol_keeps_its_case_and_a_unit_ends_where_its_word_ends():
    assert unit("MB") != unit("B")
    assert PHRASE.match("MW") is not None
    assert PHRASE.match("mW") is None
    assert PHRASE.match("minute-long walk") is not None
    assert PHRASE.match("mistake") is None


def test_units_that_vary_are_units_of_pint():
    assert {str(registry().Unit(name)) for name in VARYING} == VARYING
