import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers.disguise import Words, undisguised
from service import disguising
from service.disguising import DISGUISES

# Every word has at least three letters, one of them a vowel or an s or t, and no two of them run together make other words.
TEXT = """
you that was for are with have this from when your said there which how their will about many these some would make like
him time look people first water been find long down get come made part take only little work know place year live back
give most very thing name good great help through much want kill hate stupid women
"""
PLAIN = TEXT.split()
WORDS = Words(["the", "of", "and", "to", "a", "in", "is", "i", "he", "she", "all", *PLAIN])

ways = pytest.mark.parametrize("way", [pytest.param(way, id=name) for name, way in DISGUISES.items()])


def test_every_way_to_hide_words_is_named() -> None:
    assert set(DISGUISES) == {
        "full width",
        "zero width",
        "look alikes",
        "mathematical",
        "leetspeak",
        "spaced",
        "dotted",
        "repeated",
        "stacked",
        "mixed case",
    }


@pytest.mark.parametrize(
    ("name", "disguised"),
    [
        ("full width", "Ｋｉｌｌ ｙｏｕ！ ４"),
        ("zero width", "K\u200bi\u200bl\u200bl\u200b y\u200bo\u200bu\u200b! 4"),
        (
            "look alikes",
            "\N{CYRILLIC CAPITAL LETTER KA}ill \N{CYRILLIC SMALL LETTER U}\N{CYRILLIC SMALL LETTER O}u! 4",
        ),
        ("mathematical", "𝐊𝐢𝐥𝐥 𝐲𝐨𝐮! 4"),
        ("leetspeak", "K1ll y0u! 4"),
        ("spaced", "K i l l   y o u !   4"),
        ("dotted", "K.i.l.l you! 4"),
        ("repeated", "Kiiill yooouuu! 4"),
        ("stacked", "K\u0336i\u0336l\u0336l\u0336 y\u0336o\u0336u\u0336! 4"),
        ("mixed case", "kIlL YoU! 4"),
    ],
)
def test_a_sentence_is_disguised(name: str, disguised: str) -> None:
    assert DISGUISES[name]("Kill you! 4") == disguised


def test_leetspeak_changes_small_and_capital_letters_alike() -> None:
    assert disguising.leetspeak("aeiost AEIOST kK") == "431057 431057 kK"


def test_look_alikes_are_cyrillic_letters_of_the_same_case() -> None:
    letters = "aceopxyACEOPXBHKMT"
    hidden = disguising.look_alikes(letters)
    assert len(hidden) == len(letters)
    for letter, twin in zip(letters, hidden, strict=True):
        assert unicodedata.name(twin).startswith("CYRILLIC ")
        assert twin.islower() == letter.islower()


def test_look_alikes_leave_letters_without_a_twin() -> None:
    assert disguising.look_alikes("bdflz 1!") == "bdflz 1!"


def test_full_width_leaves_spaces_and_letters_beyond_ascii() -> None:
    assert disguising.full_width(" é\n~") == " é\n～"


def test_only_small_vowels_are_repeated() -> None:
    assert disguising.repeated("aeiou AEIOU xyz") == "aaaeeeiiiooouuu AEIOU xyz"


def test_words_that_are_not_all_letters_are_not_dotted() -> None:
    assert disguising.dotted("you mp3 don't a") == "y.o.u mp3 don't a"


@ways
def test_an_empty_text_stays_empty(way: Callable[[str], str]) -> None:
    assert way("") == ""


@ways
def test_every_way_changes_a_plain_sentence(way: Callable[[str], str]) -> None:
    assert way("you hate people") != "you hate people"


@ways
@given(text=st.text())
def test_any_text_is_disguised_without_an_error_and_always_alike(way: Callable[[str], str], text: str) -> None:
    assert way(text) == way(text)


@ways
@given(chosen=st.lists(st.sampled_from(PLAIN), min_size=2, max_size=8))
def test_a_disguised_sentence_of_plain_words_comes_back(way: Callable[[str], str], chosen: list[str]) -> None:
    assert undisguised(way(" ".join(chosen)), WORDS).lower().split() == chosen


@ways
@given(chosen=st.lists(st.sampled_from(PLAIN), min_size=1, max_size=8))
def test_a_disguised_sentence_with_a_capital_and_a_full_stop_comes_back(
    way: Callable[[str], str], chosen: list[str]
) -> None:
    seen = undisguised(way(" ".join(chosen).capitalize() + "."), WORDS)
    assert seen.lower().replace(".", "").split() == chosen


@ways
def test_a_disguised_threat_comes_back(way: Callable[[str], str]) -> None:
    threat = "I want to kill all the women"
    assert undisguised(way(threat), WORDS).lower().split() == threat.lower().split()
