"""Text to index terms: what counts as the same word when a question meets a passage.

Knows stop words, stems, numbers and acronyms of the languages that Snowball stems. Does not know about documents,
scores or offsets.
"""

import re
import threading
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

import Stemmer

ENGLISH = "english"
# Two more of PyStemmer's algorithms are older ones for the same languages.
LANGUAGES = frozenset(Stemmer.algorithms()) - {"porter", "dutch_porter"}

# Change this when the same text would give other tokens: an index built with another value is refused.
_VERSION = 1

_ENGLISH_STOP_WORDS = """
a about above after again all also am an and any are as at be because been before being below between both but by can
could did do  does doing down during each few for from further had has have having he her here hers herself him himself
his how however i if in  into is it its itself just let may me might more most must my myself no nor not now of off on
once only or other our ours ourselves  out over own same shall she should so some such than that the their theirs them
themselves then there these they this those through  to too under until up upon us very was we were what when where
which while who whom whose why will with would you your yours  yourself yourselves cannot
"""
# What bm25s's lists lack: the words that only ask.
_QUESTION_WORDS = {
    "french": "quel quelle quels quelles qui quoi comment quand pourquoi combien où",
    "german": "wer wen wem wessen wann warum wieso weshalb wie wo wohin woher was welche welcher welches",
    "italian": "chi quale quali quando perché quanto quanta quanti quante come dove",
    "portuguese": "quem qual quais quando onde quanto quanta quantos quantas",
    "spanish": "quién quiénes qué cuál cuáles cómo cuándo cuánto cuánta cuántos cuántas dónde",
}

_ACRONYM = r"\b(?:[^\W\d_]\.){2,}"
_NUMBER = r"(?:\d+(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?)"
# English stands in its plain letters once folded; other scripts write vowels as marks that are no \w to Python.
_MARK = r"[\u0300-\u036f\u064b-\u065f\u0670\u0900-\u0903\u093a-\u094f\u0955-\u0957\u0962\u0963\u0bbe-\u0bcd\u0bd7]"
_LETTER = rf"(?:[^\W_]|{_MARK})"
_ENGLISH_WORD = re.compile(rf"{_ACRONYM}|{_NUMBER}(?:(?i:st|nd|rd|th|s)\b)?|[^\W_]+(?:'[^\W_]+)*")
_WORD = re.compile(rf"{_ACRONYM}|{_NUMBER}|{_LETTER}+(?:'{_LETTER}+)*")
_LEADING_NUMBER = re.compile(_NUMBER)
_ENDING = re.compile(r"'(?:s|d|ll|re|ve|m)$", re.IGNORECASE)
_per_thread = threading.local()


def settings(language: str = ENGLISH) -> str:
    """What an index must have been built with for `tokenise(…, language)` to give its terms: language and version.

    Raises ValueError for a language that Snowball does not stem.
    """
    return f"{_known(language)}-stems-{_VERSION}"


def tokenise(text: str, language: str = ENGLISH) -> list[str]:
    """The index terms of a text, in order, with repeats: lower-cased, stop words dropped, stemmed (Snowball), accents
    folded.

    "8,849" is one term (8849), so are "3.5" and "U.S." (us). A word in capitals among others that are not ("WHO", "US")
    is kept even where its lower-case twin is a stop word. `language` is a Snowball name ("english", "spanish", …);
    languages without a list of stop words keep all their words. Raises ValueError for an unknown one.
    """
    folded = fold(text, language)
    shouting = _shouting(folded)
    return [term for word in _pattern(language).findall(folded) for term in _terms(word, shouting, language)]


def words(folded: str, language: str = ENGLISH) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    """Each word of a folded text as it stands there, its start, and its index terms (none for a stop word). Raises
    ValueError for an unknown language.
    """
    shouting = _shouting(folded)
    for match in _pattern(language).finditer(folded):
        yield match.group(), match.start(), _terms(match.group(), shouting, language)


def _pattern(language: str) -> re.Pattern[str]:
    return _ENGLISH_WORD if _known(language) == ENGLISH else _WORD


def _shouting(folded: str) -> bool:
    """Whether capitals mark nothing here."""
    return not any(character.islower() for character in folded)


def fold(text: str, language: str = ENGLISH) -> str:
    """The text with compatibility forms folded away and apostrophes made plain; English without its accents too. Offsets
    are not kept.

    Other languages keep their accents here, because their stemmers read them; the stems lose them.
    """
    if text.isascii():
        return text
    plain = _without_accents(text) if language == ENGLISH else unicodedata.normalize("NFKC", text)
    return plain.replace("’", "'").replace("‘", "'")


# Few words make up most of any text. What the cache holds depends on nothing but its arguments.
@lru_cache(maxsize=1 << 16)
def _terms(word: str, shouting: bool, language: str) -> tuple[str, ...]:
    if word[0].isdecimal():
        number = _LEADING_NUMBER.match(word)
        return (number.group().replace(",", ""),) if number else ()
    if word.endswith("."):
        return (word.replace(".", "").lower(),)
    bare = word
    if language == ENGLISH:
        if word.lower().endswith("n't"):
            return ()  # a negation or none: support() reads it from the text itself
        bare = _ENDING.sub("", word)
    kept = len(bare) > 1 and bare.isupper() and not shouting
    parts = (part for part in bare.lower().split("'") if part and (kept or part not in stop_words(language)))
    return tuple(term for term in (_without_accents(_stem(part, language)) for part in parts) if term)


@lru_cache
def stop_words(language: str = ENGLISH) -> frozenset[str]:
    """The lower-case words of a language that are no index terms: an own list for English, those of bm25s with the
    question words for ten others, none for the rest. Raises ValueError for an unknown language.
    """
    if _known(language) == ENGLISH:
        return frozenset(_ENGLISH_STOP_WORDS.split())
    from bm25s import stopwords  # costs a fifth of a second, which English need not pay

    listed = getattr(stopwords, f"STOPWORDS_{language.upper()}", ())
    return frozenset((*listed, *_QUESTION_WORDS.get(language, "").split()))


def _known(language: str) -> str:
    if language not in LANGUAGES:
        raise ValueError(f"unknown language {language!r}: choose one of {', '.join(sorted(LANGUAGES))}")
    return language


def _stem(word: str, language: str) -> str:
    stemmers = _per_thread.__dict__.setdefault("stemmers", {})  # PyStemmer's objects must not be shared between threads
    if language not in stemmers:
        stemmers[language] = Stemmer.Stemmer(language)
    return str(stemmers[language].stemWord(word))


def _without_accents(text: str) -> str:
    if text.isascii():
        return text
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(character for character in decomposed if not unicodedata.combining(character))
