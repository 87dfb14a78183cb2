"""What may be logged of an error."""

from service.faults import describe


def test_an_error_is_described_by_its_type_and_place_without_its_words():
    words = "the text of a dropped reply"
    try:
        raise KeyError(words)
    except KeyError as error:
        found = describe(error)
    assert found.startswith("KeyError\n")
    assert "test_faults.py" in found
    assert words not in found
