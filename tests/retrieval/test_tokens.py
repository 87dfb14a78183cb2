"""Words to index terms, in any language that Snowball stems: one word has one term, however it is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.tokens import LANGUAGES, fold, settings, stop_words, tokenise, words

LANGUAGE = st.sampled_from(sorted(LANGUAGES))


@pytest.mark.parametrize(
    ("language", "text", "terms"),
    [
        ("english", "What are the capitals of Kenya?", ["capit", "kenya"]),
        ("english", "naïve résumés", ["naiv", "resum"]),
        ("spanish", "¿Cuáles son las capitales de Perú?", ["capital", "peru"]),
        ("german", "Wo liegen die Hauptstädte der Länder?", ["lieg", "hauptstadt", "land"]),
        ("french", "Quelles sont les capitales de l’Afrique ?", ["capital", "afriqu"]),
        ("portuguese", "Quais são as capitais das nações?", ["capit", "naco"]),
        ("russian", "Где находятся столицы?", ["наход", "столиц"]),
        ("english", "the U.S. and J.R.R. Tolkien", ["us", "jrr", "tolkien"]),
        ("english", "In the 1990s, 1,234th of 5,0000", ["1990", "1234", "5", "0000"]),
        ("german", "8,849 m und 3.5 km", ["8849", "m", "3.5", "km"]),
    ],
)
def test_a_text_becomes_the_terms_of_its_language(language: str, text: str, terms: list[str]) -> None:
    assert tokenise(text, language) == terms


@pytest.mark.parametrize(
    ("language", "one", "other"),
    [
        ("english", "cafés", "cafe"),
        ("spanish", "canción", "canciones"),
        ("german", "Häuser", "Haus"),
        ("french", "l’État", "ÉTAT"),
        ("portuguese", "país", "países"),
        ("hindi", "लड़का", "लड़के"),
        ("arabic", "كِتَاب", "كتاب"),
    ],
)
def test_forms_of_a_word_meet(language: str, one: str, other: str) -> None:
    assert tokenise(one, language) == tokenise(other, language) != []


def test_letters_that_are_written_as_marks_belong_to_their_word() -> None:
    assert len(tokenise("हिन्दी", "hindi")) == 1
    assert len(tokenise("தமிழ்", "tamil")) == 1


@pytest.mark.parametrize("language", ["english", "spanish", "german", "french", "portuguese"])
def test_the_commonest_words_are_no_terms(language: str) -> None:
    common = {
        "english": "What is all of it and in",
        "spanish": "¿Qué es lo de él y en cuál?",
        "german": "Was ist das und wer war es in der?",
        "french": "Qu’est ce que c’est et où est-elle dans la",
        "portuguese": "O que é isso e quem está na",
    }[language]
    assert tokenise(common, language) == []
    assert "paris" not in stop_words(language)


@given(st.text(max_size=200), LANGUAGE)
def test_any_text_can_be_tokenised_in_any_language(text: str, language: str) -> None:
    assert all(token and token == token.lower() for token in tokenise(text, language))


@given(st.text(max_size=200), LANGUAGE)
def test_each_word_stands_where_it_says(text: str, language: str) -> None:
    folded = fold(text, language)
    assert all(folded[start : start + len(word)] == word for word, start, _ in words(folded, language))


@given(st.text(max_size=60), st.text(max_size=60), LANGUAGE)
def test_what_was_read_before_changes_no_term(before: str, text: str, language: str) -> None:
    alone = tokenise(text, language)
    tokenise(before, language)
    tokenise(text, "english")
    assert tokenise(text, language) == alone


def test_every_language_has_settings_of_its_own() -> None:
    assert len({settings(language) for language in LANGUAGES}) == len(LANGUAGES)
    assert settings("german").startswith("german")
    assert settings("english") == settings()


@pytest.mark.parametrize(
    "read", [lambda: tokenise("", "klingon"), lambda: settings("klingon"), lambda: stop_words("klingon")]
)
def test_an_unknown_language_is_refused_with_those_that_are_known(read) -> None:
    with pytest.raises(ValueError, match=r"'klingon': choose one of .*english.*spanish"):
        read()
