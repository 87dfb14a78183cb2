"""How far the words of a quote bear out a claim, and how well a passage fits a question: both by shared words, both in
[0, 1].

A lexical measure, first version. It knows term weights, numbers with their units, names, negation and a few opposites.
It does not know grammar: "A borders B" and "B borders A" are one to it, and a true paraphrase in other words scores
low. The caps make it err towards "unsupported".
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from retrieval.tokens import fold, tokenise, words

Weight = Callable[[str], float]

# What a claim gets at most when something in it contradicts the quote or is missing from it that words around it cannot
# make up for.
CAP = 0.3
# The share of the claim's relation words (neither name nor number nor light word) that the quote must hold.
_LEAST_RELATION = 0.5

# Words that carry little of what is claimed: their absence from a quote says nothing ("serves as the capital city of").
_LIGHT_WORDS = """
serve serves located situated called known named include includes including become became make makes city country place
people person thing kind type part use used well also one ones many much often usually commonly generally approximately
about around roughly nearly almost today currently found famous official officially important major main
"""
_LIGHT = frozenset(tokenise(_LIGHT_WORDS))
# What a light word weighs of its idf. Without this, a light word that a small corpus lacks outweighs the facts it has.
_LIGHT_SHARE = 0.25
_ASKING_WORDS = """
tell explain describe know please give want mean define say show help find question answer thing something anything much
many like need think talk write list name information info detail fact example understand wonder happen
"""
_ASKING = frozenset(tokenise(_ASKING_WORDS))
# Capitalised at the start of a sentence without being a name.
_OPENINGS_WORDS = """
according based additionally overall today historically several various another like unlike despite although since
because thanks thank yes sure hello hi hey greetings welcome dear ok okay please people scientists experts researchers facts answer note
"""
_OPENINGS = frozenset(_OPENINGS_WORDS.split())
_NEGATION = re.compile(
    r"\b(?:not|no|never|none|neither|nor|cannot|without|nobody|nothing|hardly|\w+n't)\b", re.IGNORECASE
)
_NO_NEGATION = re.compile(
    r"\bnot only\b|\bno\. ?\d|^\W*no\s*,|\bno doubt\b|\bwhether or not\b|\bno\.? one of", re.IGNORECASE
)
_WORD = re.compile(r"[^\W\d_]+(?:\.[^\W\d_]+)*")
# Not after a stop that follows three letters or fewer: "Dr. Smith", "J. K. Rowling", "Mt. Kenya".
_SENTENCE_END = re.compile(r"[!?:\n]\s|(?<=\w{4})[.]\s|(?<=\d)[.]\s")

_SCALES = {"hundred": 1e2, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
_SMALL = "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_DIGITS = {word: value for value, word in enumerate(_SMALL.split(), 2)}
_DIGITS |= {word: 10 * value for value, word in enumerate(_TENS.split(), 2)}
_UNITS = {
    spelling: unit
    for unit, spellings in {
        "m": "m metre metres meter meters",
        "km": "km kilometre kilometres kilometer kilometers",
        "cm": "cm centimetre centimetres centimeter centimeters",
        "mm": "mm millimetre millimetres millimeter millimeters",
        "ft": "ft foot feet",
        "mi": "mi mile miles",
        "kg": "kg kilogram kilograms",
        "g": "g gram grams",
        "lb": "lb lbs pound pounds",
        "%": "% percent",
        "s": "second seconds",
        "min": "minute minutes",
        "h": "hour hours",
        "d": "day days",
        "w": "week weeks",
        "mo": "month months",
        "y": "year years",
        "bc": "bc bce",
        "c": "°c celsius",
        "f": "°f fahrenheit",
    }.items()
    for spelling in spellings.split()
}
_SPELT = "|".join(_DIGITS)
_NUMBER = re.compile(
    rf"(?<![^\W_])(?:(?P<digits>\d+(?:,\d{{3}})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?)|(?P<tens>(?:{_SPELT}))(?:-(?P<ones>{_SPELT}))?\b)"
    rf"(?:st|nd|rd|th|s\b)?(?:[ -]?(?P<scale>{'|'.join(_SCALES)})s?\b)?(?:(?: degrees)?[ -]?(?P<unit>%|°?[a-z]+))?",
    re.IGNORECASE,
)
_OPPOSITES: dict[str, frozenset[str]] = {}
for _left, _right in (
    ("largest biggest greatest", "smallest littlest"),
    ("longest", "shortest"),
    ("tallest highest", "lowest shortest"),
    ("oldest first earliest", "newest youngest last latest"),
    ("hottest warmest", "coldest coolest"),
    ("fastest", "slowest"),
    ("closest nearest", "farthest furthest"),
    ("heaviest", "lightest"),
    ("best", "worst"),
    ("north northern", "south southern"),
    ("east eastern", "west western"),
    ("above", "below"),
    ("before", "after"),
    ("more", "less fewer"),
    ("most", "least fewest"),
    ("maximum", "minimum"),
    ("increase increases increased", "decrease decreases decreased reduce reduces reduced"),
    ("rise rises rose raises raised", "fall falls fell lower lowers lowered"),
    ("always", "never sometimes rarely"),
    ("hot", "cold"),
    ("safe", "dangerous unsafe"),
    ("larger bigger", "smaller"),
    ("higher", "lower"),
    ("clockwise", "anticlockwise counterclockwise"),
    ("positive", "negative"),
    ("left", "right"),
):
    for _word in _left.split():
        _OPPOSITES[_word] = _OPPOSITES.get(_word, frozenset()) | frozenset(_right.split())
    for _word in _right.split():
        _OPPOSITES[_word] = _OPPOSITES.get(_word, frozenset()) | frozenset(_left.split())

_RANK = re.compile(
    r"\b(?:(one of|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|[2-9]th|2nd|3rd)"
    r"[ -](?:the )?(?:world's )?)?(\w+est|most)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class _Reading:
    """What one text says, word by word, for comparing two of them."""

    tokens: frozenset[str]
    numbers: tuple[tuple[float, str], ...]  # value and unit, "" where no known unit follows; repeats kept
    number_tokens: frozenset[str]
    names: tuple[str, ...]  # tokens of the capitalised words inside the sentence
    opening: tuple[str, ...]  # tokens of the first word of all, where it is capitalised and could be a name
    negations: int
    words: frozenset[str]  # lower-case, nothing dropped
    ranks: dict[str, str]  # "largest" -> "second"


# Quotes and claims are read many times over; longer texts would fill the memory.
_CACHED = 2000


def _read(text: str) -> _Reading:
    return _remembered(text) if len(text) <= _CACHED else _reading(text)


@lru_cache(maxsize=8192)
def _remembered(text: str) -> _Reading:
    return _reading(text)


def _reading(text: str) -> _Reading:
    plain = fold(text)
    numbers, number_tokens = _numbers(plain)
    names, opening = _names(plain)
    return _Reading(
        tokens=frozenset(tokenise(text)),
        numbers=numbers,
        number_tokens=number_tokens,
        names=names,
        opening=opening,
        negations=len(_NEGATION.findall(_NO_NEGATION.sub(" ", plain))),
        words=frozenset(word.lower() for word in _WORD.findall(plain)),
        ranks={match[2].lower(): (match[1] or "").lower() for match in _RANK.finditer(plain)},
    )


def _numbers(plain: str) -> tuple[tuple[tuple[float, str], ...], frozenset[str]]:
    numbers: list[tuple[float, str]] = []
    tokens: set[str] = set()
    for match in _NUMBER.finditer(plain):
        if match["digits"]:
            value = float(match["digits"].replace(",", "")[:300])
        else:
            value = float(_DIGITS[match["tens"].lower()] + (_DIGITS[match["ones"].lower()] if match["ones"] else 0))
        scale = _SCALES[match["scale"].lower()] if match["scale"] else 1.0
        numbers.append((round(value * scale, 9), _UNITS.get((match["unit"] or "").lower(), "")))
        spelt = [part for part in (match["digits"], match["tens"], match["ones"], match["scale"]) if part]
        tokens.update(tokenise(" ".join(spelt)))
    return tuple(numbers), frozenset(tokens)


def _names(plain: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tokens of the capitalised words inside sentences, and of the first word of all where it could be a name too."""
    if not any(character.islower() for character in plain):
        return (), ()  # all in capitals: capitals mark nothing
    names: list[str] = []
    opening: tuple[str, ...] = ()
    reached = 0
    for number, (word, start, tokens) in enumerate(words(plain)):
        fresh = number == 0 or _SENTENCE_END.search(plain, reached, start) is not None
        reached = start + len(word)
        if not word[0].isupper():
            continue
        if not fresh:
            names += tokens
        elif number == 0 and not word.lower().endswith(("ly", "ing", "ed")) and word.lower() not in _OPENINGS:
            opening = tokens
    return tuple(dict.fromkeys(names)), opening


def names(text: str) -> tuple[str, ...]:
    """The tokens of the names in a text: its capitalised words, the first one too unless it is a common opening
    ("Tell").
    """
    reading = _read(text)
    return tuple(token for token in dict.fromkeys((*reading.opening, *reading.names)) if token not in _ASKING)


def holds(tokens: frozenset[str], token: str) -> bool:
    """Whether a token, or the same name in another form ("kenyan" for "kenya"), is among the tokens."""
    if token in tokens:
        return True
    if len(token) < 4:
        return False
    # Endings that make an adjective of a country. Not "ia" or "ian": Niger is not Nigeria.
    forms = [token + ending for ending in ("n", "an", "es")]
    forms += [
        token[: -len(ending)]
        for ending in ("n", "an", "es")
        if token.endswith(ending) and len(token) - len(ending) >= 4
    ]
    return any(form in tokens for form in forms)


def support(claim: str, quote_text: str, weight: Weight, title: str = "") -> float:
    """How far a quote bears out a claim, in [0, 1]; never NaN.

    The share of the claim's content tokens, weighted by `weight` (an idf; light words such as "city" a quarter of it),
    that the quote holds; tokens of `title` count as held. At most CAP when the claim has a number (with its unit; "54
    million" is one number; each occurrence needs its own) or a capitalised name that neither quote nor title has; when
    its first word is in neither and could be a name; when the quote has more or fewer negations, says the opposite, or
    ranks otherwise ("largest", "second largest"); or when less than half of its relation words ("capital", "borders")
    are in the quote. An empty claim or quote gives 0.0. A weight that is not a positive finite number counts as 0; when
    all do, tokens count alike.
    """
    said, shown, heading = _read(claim), _read(quote_text), _read(title)
    if not said.tokens or not shown.tokens:
        return 0.0
    available = shown.tokens | heading.tokens
    # A number is compared by value ("forty-seven" is 47): where one is missing, the cap below decides.
    held = frozenset(token for token in said.tokens if token in said.number_tokens or holds(available, token))
    share = _share(held, said.tokens, lambda token: weight(token) * (_LIGHT_SHARE if token in _LIGHT else 1))
    return min(share, CAP) if _contradicts(said, shown, heading) or _unrelated(said, shown, weight) else share


def _contradicts(said: _Reading, shown: _Reading, heading: _Reading) -> bool:
    # Counted, not only noticed: in a long sentence one "not" must not excuse another, nor one 1793 another.
    if said.negations != shown.negations:
        return True
    if not _numbers_within(said.numbers, (*shown.numbers, *heading.numbers)):
        return True
    available = shown.tokens | heading.tokens
    if not all(holds(available, name) for name in (*said.names, *said.opening)):
        return True
    if any(shown.words & _OPPOSITES.get(word, frozenset()) and word not in shown.words for word in said.words):
        return True
    return any(rank in shown.ranks and shown.ranks[rank] != order for rank, order in said.ranks.items())


def _numbers_within(said: tuple[tuple[float, str], ...], shown: tuple[tuple[float, str], ...]) -> bool:
    """Whether each number of a claim has its own in the quote: equal value, and equal unit where both have one."""
    left = list(shown)
    for value, unit in sorted(said, key=lambda number: not number[1]):  # those with a unit first: they have less choice
        equal = [number for number in left if math.isclose(value, number[0])]
        fitting = [number for number in equal if number[1] == unit] or [n for n in equal if not unit or not n[1]]
        if not fitting:
            return False
        left.remove(fitting[0])
    return True


def _unrelated(said: _Reading, shown: _Reading, weight: Weight) -> bool:
    """Whether the quote lacks most of what the claim says *about* its names and numbers ("Mombasa, Kenya" alone proves
    no capital).
    """
    entities = {*said.names, *said.opening, *said.number_tokens}
    relation = said.tokens - entities - _LIGHT
    held = frozenset(token for token in relation if holds(shown.tokens, token))
    return bool(relation) and _share(held, relation, weight) < _LEAST_RELATION


def _share(held: frozenset[str], tokens: frozenset[str], weight: Weight) -> float:
    """The weight of `held` in that of `tokens`, in [0, 1]; counts alike when no weight is usable."""
    weights = {token: _usable(weight(token)) for token in tokens}
    largest = max(weights.values(), default=0.0)
    if largest <= 0:
        return len(held) / len(tokens) if tokens else 0.0
    # Divided by the largest first, so that neither sum can overflow; sorted, because sums of floats depend on their
    # order.
    total = sum(weights[token] / largest for token in sorted(tokens))
    return min(1.0, sum(weights[token] / largest for token in sorted(held)) / total)


def _usable(weight: float) -> float:
    return weight if math.isfinite(weight) and weight > 0 else 0.0


def coverage(question: str, title: str, text: str, weight: Weight) -> float:
    """The share of a question's content tokens, weighted, that a title and text hold, in [0, 1]; 0.0 for a question
    without any.

    Question words ("what", "how") and words of asking ("tell", "explain") do not count.
    """
    asked = _read(question).tokens - _ASKING
    available = _read(text).tokens | _read(title).tokens
    return _share(frozenset(token for token in asked if holds(available, token)), asked, weight) if asked else 0.0
