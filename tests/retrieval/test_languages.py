import pytest

from retrieval.languages import _CODES, NAMES, is_code_of


def test_no_code_stands_for_two_languages():
    codes = [code for name in NAMES for code in _CODES[name]]
    assert len(codes) == len(set(codes))
    assert len(NAMES) == len(set(NAMES))


@pytest.mark.parametrize("code", ["fr", "fra", "fr_XX", "fra_Latn", "fr-FR", "FR"])
def test_a_code_is_read_in_every_form_that_models_use(code):
    assert is_code_of(code, "french")
    assert not is_code_of(code, "frisian")
    assert not is_code_of(code, "german")
