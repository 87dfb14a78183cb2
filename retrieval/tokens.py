"""Text to index terms: what counts as the same word when a question meets a passage.

Knows English stop words, stems, numbers and acronyms. Does not know about documents, scores or offsets.
"""

import re
import threading
import unicodedata
from collections.abc import Iterator

import Stemmer

# Change this when the same text would give other tokens: an index built with another value is refused.
SETTINGS = "english-stems-1"

_STOP_WORDS = """
a about above after again all also am an and any are as at be because been before being below between both but by can
could did do  does doing down during each few for from further had has have having he her here hers herself him himself
his how however i if in  into is it its itself just let may me might more most must my myself no nor not now of off on
once only or other our ours ourselves  out over own same shall she should so some such than that the their theirs them
themselves then there these they this those through  to too under until up upon us very was we were what when where
which while who whom whose why will with would you your yours  yourself yourselves cannot
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())

_TOKEN = re.compile(
    r"(?P<acronym>\b(?:[^\W\d_]\.){2,})"
    r"|(?P<number>\d+(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?)(?:(?:st|nd|rd|th|s)\b)?"
    r"|(?P<word>[^\W_]+(?:'[^\W_]+)*)",
    flags=re.IGNORECASE,
)
_ENDING = re.compile(r"'(?:s|d|ll|re|ve|m)$", re.IGNORECASE)
_per_thread = threading.local()


def tokenise(text: str) -> list[str]:
    """The index terms of a text, in order, with repeats: lower-cased, accents folded, stop words dropped, English stems
    (Snowball).

    "8,849" is one term (8849), so are "3.5" and "U.S." (us). A word in capitals among others that are not ("WHO", "US")
    is kept even where its lower-case twin is a stop word.
    """
    return [token for _, _, tokens in words(fold(text)) for token in tokens]


def words(folded: str) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    """Each word of a folded text as it stands there, its start, and its index terms (none for a stop word)."""
    shouting = not any(character.islower() for character in folded)
    for match in _TOKEN.finditer(folded):
        if match["number"]:
            tokens = [match["number"].replace(",", "")]
        elif match["acronym"]:
            tokens = [match["acronym"].replace(".", "").lower()]
        else:
            tokens = _word(match["word"], shouting)
        yield match.group(), match.start(), tuple(tokens)


def fold(text: str) -> str:
    """The text with compatibility forms and accents folded away and apostrophes made plain. Offsets are not kept."""
    decomposed = unicodedata.normalize("NFKD", text)
    plain = "".join(character for character in decomposed if not unicodedata.combining(character))
    return plain.replace("’", "'").replace("‘", "'")


def _word(word: str, shouting: bool) -> list[str]:
    if word.lower().endswith("n't"):
        return []  # a negation or none: support() reads it from the text itself
    bare = _ENDING.sub("", word)
    kept = len(bare) > 1 and bare.isupper() and not shouting
    return [_stem(part) for part in bare.lower().split("'") if part and (kept or part not in STOP_WORDS)]


def _stem(word: str) -> str:
    stemmer = getattr(_per_thread, "stemmer", None)  # PyStemmer's objects must not be shared between threads
    if stemmer is None:
        stemmer = _per_thread.stemmer = Stemmer.Stemmer("english")
    return str(stemmer.stemWord(word))
