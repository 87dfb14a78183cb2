"""Ways in which people hide words from filters, to measure what of it is seen through. The way back is in `classifiers/disguise.py`.

Knows characters. Deterministic: the same text gives the same disguise.
"""

from collections.abc import Callable

ZERO_WIDTH = "\u200b"
_LEET = str.maketrans("aeiostAEIOST", "431057431057")
_CYRILLIC = str.maketrans("aceopxyACEOPXBHKMT", "асеорхуАСЕОРХВНКМТ")


def full_width(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def zero_width(text: str) -> str:
    return "".join(c + ZERO_WIDTH if c.isalpha() else c for c in text)


def look_alikes(text: str) -> str:
    return text.translate(_CYRILLIC)


def mathematical(text: str) -> str:
    small, large = 0x1D41A, 0x1D400
    return "".join(
        chr(small + ord(c) - 97) if "a" <= c <= "z" else chr(large + ord(c) - 65) if "A" <= c <= "Z" else c
        for c in text
    )


def leetspeak(text: str) -> str:
    return text.translate(_LEET)


def spaced(text: str) -> str:
    return "   ".join(" ".join(word) for word in text.split())


def dotted(text: str) -> str:
    return " ".join(".".join(word) if word.isalpha() else word for word in text.split())


def repeated(text: str) -> str:
    """Vowels three times over."""
    return "".join(c * 3 if c in "aeiou" else c for c in text)


def stacked(text: str) -> str:
    """A combining stroke over every letter."""
    return "".join(c + "\u0336" if c.isalpha() else c for c in text)


def mixed_case(text: str) -> str:
    return "".join(c.upper() if i % 2 else c.lower() for i, c in enumerate(text))


DISGUISES: dict[str, Callable[[str], str]] = {
    way.__name__.replace("_", " "): way
    for way in (
        full_width,
        zero_width,
        look_alikes,
        mathematical,
        leetspeak,
        spaced,
        dotted,
        repeated,
        stacked,
        mixed_case,
    )
}
