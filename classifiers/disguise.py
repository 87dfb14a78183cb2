"""Disguised text as what it looks like: look-alike letters, zero-width characters, leetspeak, spaced or repeated letters, emoji.

Knows characters and a list of words. Does not know what is harmful: the screener reads both the text and what this makes of it,
and the worse score decides (law 3), so that a wrong guess here can only make the filter stricter.
"""

import itertools
import math
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

import emoji
from confusable_homoglyphs import confusables

LEET = {
    "0": "o",
    "1": "il",
    "2": "z",
    "3": "e",
    "4": "a",
    "5": "s",
    "6": "g",
    "7": "t",
    "8": "b",
    "9": "g",
    "@": "a",
    "$": "s",
    "!": "il",
    "|": "li",
    "+": "t",
    "(": "c",
    "\N{EURO SIGN}": "e",
    "\N{POUND SIGN}": "l",
}
MAX_GUESSES = 64
"""Readings of one leet word that are tried: each of "1", "!" and "|" doubles them."""

_LEET_WORD = re.compile(r"[A-Za-z0-9@$!|+(\u20ac\u00a3]+")
_SPACED = re.compile(r"(?<![^\W_])(?<!['\u2019])[^\W_](?:([\s._\-*~|/\\,]{1,3})[^\W_]){2,}(?!['\u2019]?[^\W_])")
_DOTTED = re.compile(r"(?<![A-Za-z])[A-Za-z]+(?:[.*_~|\-][A-Za-z]+)+")
_RUN = re.compile(r"([A-Za-z])\1{2,}")
_STUTTER = re.compile(r"(?<![A-Za-z])[A-Za-z]*?([A-Za-z])\1{2,}[A-Za-z]*")
_INNER_CAPITAL = re.compile(r"[a-z][A-Z]")
_CYRILLIC = dict(
    zip("\u043a\u0442\u0432\u043c\u043d\u043f\u0438\u044f\u0433\u044c\u0437\u03ba", "ktbmhnurrbek", strict=True)
)
"""Letters that Unicode's table of look-alikes leaves out; only in words that mix scripts."""


class Words:
    """A list of words, commonest first. A tokenizer's vocabulary is one: its byte-pair merges stand in the order of how often
    they were seen.
    """

    def __init__(self, ranked: Iterable[str]) -> None:
        self._rank: dict[str, int] = {}
        for word in ranked:
            self._rank.setdefault(word.lower(), len(self._rank))
        self._longest = max(map(len, self._rank), default=0)

    @classmethod
    def of_vocabulary(cls, vocabulary: dict[str, int]) -> "Words":
        """The whole words of a byte-level vocabulary, those that follow a space."""
        ordered = sorted(vocabulary, key=vocabulary.__getitem__)
        # Single letters other than "a" and "i" are in every vocabulary and are no words.
        words = (token[1:] for token in ordered if token.startswith("\u0120") and token[1:].isalpha())
        return cls(word for word in words if len(word) > 1 or word.lower() in "ai")

    def __contains__(self, word: str) -> bool:
        return word.lower() in self._rank

    def rank(self, word: str) -> int:
        """How many words are commoner; the length of the list for one that is not in it."""
        return self._rank.get(word.lower(), len(self._rank))

    def split(self, letters: str) -> list[str]:
        """The likeliest words of a text without spaces: the cost of a word is the logarithm of its rank, by Zipf's law (after
        Norvig, "Natural Language Corpus Data", 2009).
        """
        size = math.log(len(self._rank) + 2)
        best: list[tuple[float, int]] = [(0.0, 0)]
        lower = letters.lower()
        for end in range(1, len(lower) + 1):
            options = []
            for start in range(max(0, end - max(1, self._longest)), end):
                rank = self._rank.get(lower[start:end])
                cost = math.log((rank + 2) * size) if rank is not None else 3 * size * (end - start)
                options.append((best[start][0] + cost, start))
            best.append(min(options))
        parts: list[str] = []
        end = len(letters)
        while end:
            start = best[end][1]
            parts.append(letters[start:end])
            end = start
        return parts[::-1]


def undisguised(text: str, words: Words) -> str:
    """What the text looks like to a reader. The text itself, character for character, when nothing in it is disguised."""
    seen = text if text.isascii() else _letters(_named_emoji("".join(map(_boxed, text))))
    seen = _SPACED.sub(lambda m: _join(m.group(), words), seen)
    seen = _DOTTED.sub(lambda m: _undotted(m.group(), words), seen)
    seen = _unleet(seen, words)
    seen = _STUTTER.sub(lambda m: _unstuttered(m.group(), words), seen)
    if len(_INNER_CAPITAL.findall(seen)) > 2:  # one iPhone is no disguise
        seen = re.sub(
            r"[A-Za-z]+", lambda m: m.group().lower() if _INNER_CAPITAL.search(m.group()) else m.group(), seen
        )
    return text if seen.split() == text.split() else seen


def _named_emoji(text: str) -> str:
    return emoji.replace_emoji(text, lambda _, data: f" {data['en'].strip(':').replace('_', ' ').replace('-', ' ')} ")


def _letters(text: str) -> str:
    text = "".join(map(_flagged, text))
    text = "".join(c if c == "…" else unicodedata.normalize("NFKC", c) for c in text)
    # Characters that take no room (format characters, variation selectors) and marks stacked on a letter.
    text = "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Co", "Cn"))
    return re.sub(r"\S+", lambda m: _unmarked(m.group()), text)


def _unmarked(word: str) -> str:
    bare = "".join(c for c in unicodedata.normalize("NFD", word) if unicodedata.category(c) not in ("Mn", "Me"))
    latin = re.sub(r"\w+", lambda m: _latin(m.group()), bare)
    return latin if any(c.isascii() and c.isalpha() for c in latin) else word


def _boxed(character: str) -> str:
    # White-on-black and flag letters, which NFKC leaves alone.
    code = ord(character)
    for first in (0x24B6, 0x1F150, 0x1F170):
        if first <= code < first + 26:
            return chr(ord("A") + code - first)
    return character


def _flagged(character: str) -> str:
    code = ord(character) - 0x1F1E6
    return chr(ord("A") + code) if 0 <= code < 26 else character


def _latin(word: str) -> str:
    if word.isascii():
        return word
    mixed = any(c.isascii() and c.isalpha() for c in word)
    found = [c if c.isascii() else _look_alike(c) or (_CYRILLIC.get(c.lower()) if mixed else None) for c in word]
    # A word with a letter that looks like no Latin one is truly in another script.
    return "".join(c or "" for c in found) if all(found) else word


@lru_cache(maxsize=4096)
def _look_alike(character: str) -> str | None:
    found = confusables.is_confusable(character, preferred_aliases=[])
    twins = [t["c"] for row in found or [] for t in row["homoglyphs"] if t["c"].isascii() and t["c"].isalpha()]
    if twins:
        letter: str = min(twins, key=lambda c: c.isupper() != character.isupper())
        letter = "I" if letter == "l" and character.isupper() else letter
        return letter.lower() if character.islower() else letter
    plain = unicodedata.normalize("NFKD", character)[0]
    return plain if plain.isascii() and plain.isalpha() else None


def _join(spaced: str, words: Words) -> str:
    letters = re.split(r"[\s._\-*~|/\\,]+", spaced)
    gaps = re.findall(r"[\s._\-*~|/\\,]+", spaced)
    if all(letter.isdigit() for letter in letters):
        return spaced  # a phone number, a list of figures
    cut = any(gap.strip() for gap in gaps)
    parts = [letters[0]]
    for gap, letter in zip(gaps, letters[1:], strict=True):
        if len(gap) > min(map(len, gaps)) or (cut and not gap.strip()):
            parts.append(letter)
        else:
            parts[-1] += letter
    # A short word between known ends is one word, listed or not; a long one may be several ("i.h.a.t.e.y.o.u").
    whole = len(parts) > 1
    return " ".join(
        part if whole and part.isalpha() and len(part) <= 6 else " ".join(_parted(part, words)) for part in parts
    )


def _parted(part: str, words: Words) -> list[str]:
    plain = _plain_word(part, words) or part
    if plain in words or not plain.isalpha():
        return [plain]
    found = words.split(plain)
    return found if all(word in words for word in found) else [plain]


def _undotted(word: str, words: Words) -> str:
    parts = re.split(r"[.*_~|\-]", word)
    joined = "".join(parts)
    if len(joined) < 4:  # e.g., a.m.
        return word
    # "well-known" is two words with a hyphen; "ki-ll" is one that was cut.
    return joined if joined in words and words.rank(joined) < max(map(words.rank, parts)) else word


def _unleet(text: str, words: Words) -> str:
    tokens = _LEET_WORD.findall(text)
    mixed = sum(_is_mixed(t) and _plain_word(t, words) is not None for t in tokens)
    heavy = mixed >= 2 and mixed * 3 >= len(tokens)

    def read(match: re.Match[str]) -> str:
        word = match.group()
        core = word.lstrip("(")
        stem = core.rstrip("!+(|")
        head, tail = word[: len(word) - len(core)], core[len(stem) :]
        if stem.isalpha() and stem in words:
            return word
        for first, form, last in ((head, stem, tail), (head, core, ""), ("", word, "")):
            if _is_mixed(form) or (heavy and form and not form.isalpha()):
                plain = _plain_word(form, words)
                if plain:
                    return first + plain + last
        return word

    return _LEET_WORD.sub(read, text)


def _is_mixed(word: str) -> bool:
    return any(c.isalpha() for c in word) and not word.isalpha() and len(word) > 2


def _plain_word(word: str, words: Words) -> str | None:
    """The word that a leet form stands for; None when it stands for none."""
    choices = [LEET.get(c, c) for c in word]
    if math.prod(map(len, choices)) > MAX_GUESSES:
        choices = [c[0] for c in choices]
    guesses = ["".join(guess) for guess in itertools.product(*choices)]
    known = [g for g in guesses if g.isalpha() and (g in words or _unstuttered(g, words) in words)]
    if known:
        return min(known, key=words.rank)
    # Not in the list, but figures between letters are no number either ("3xt3rm1n4t3").
    letters = sum(c.isalpha() for c in word)
    inside = re.search(r"[A-Za-z][0-9@$!|]+[A-Za-z]", word)
    return guesses[0] if inside and letters >= 3 and guesses[0].isalpha() else None


def _unstuttered(word: str, words: Words) -> str:
    runs = len(_RUN.findall(word))
    if not 0 < runs <= 6:
        return _RUN.sub(r"\1", word)
    guesses = []
    for repeats in itertools.product((1, 2), repeat=runs):
        lengths = iter(repeats)
        guesses.append(_RUN.sub(lambda m: m.group(1) * next(lengths), word))  # noqa: B023  # used up at once
    return min(guesses, key=words.rank)  # the first, without repeats, where none is known
