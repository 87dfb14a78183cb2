"""The words to look for: a question in its dialog, or a claim that answers one, as one query for any engine.

Knows when a question leans on the turns before it and how much their words count. Does not know indexes or scores.
"""

import re
from collections.abc import Sequence

from retrieval.support import names
from retrieval.tokens import ENGLISH, fold, tokenise, words

# Words that only point at what an earlier turn named; other languages go by length alone.
_POINTING = {
    ENGLISH: r"""it its itself they them their theirs themselves he him his himself she her hers herself this that these those
        there one ones former latter same instead""",
    "french": "il elle ils elles lui leur leurs son sa ses celui celle ceux celles ça cela ceci là en y",
    "german": "er sie es ihn ihm ihnen ihr ihre ihren ihrem ihrer sein seine seinen seinem seiner dieser diese dieses dort da davon",
    "portuguese": "ele ela eles elas dele dela deles delas isso isto esse essa este esta aquele aquela lá ali seu sua seus suas",
    "spanish": "él ella ellos ellas eso esto ese esa esos esas este esta estos estas aquel aquella allí ahí su sus",
}
# "Is there a …", "the bird that …", "one of the …" point at nothing before them.
_NOT_POINTING = re.compile(
    r"\b(?:is|are|was|were|be) there\b|\bthere (?:is|are|was|were)\b|\bone of\b"
    r"|\bthat (?!(?:country|place|city|one|is|was|did)\b|\W|$)",
    re.IGNORECASE,
)
# A question of no more terms than this, and without a name, hardly says what it is about. Names are known by the capitals of
# English alone.
_FEW = 3
# How often a question's words are repeated for each time that an earlier turn's word counts.
_WEIGHT = 2
# What an earlier turn may add: the question and answer before, of a long answer its beginning.
_TURNS, _TERMS = 2, 32


def query_of(question: str, earlier: Sequence[str] = (), claim: str = "", language: str = ENGLISH) -> str:
    """What to search for, as text: a word counts as often as it stands there.

    `earlier` holds the texts of the turns before the question, oldest first; where the question points at them ("And when
    did it open?") or says too little by itself, the content words of the last two count half of what its own do, at most
    32 of them. `claim`, a sentence that answers the question, is looked for with the question. Raises ValueError for an unknown
    language.
    """
    asked = _quiet(question)
    added = _context(earlier, language) if leans(question, language) else []
    own = " ".join(part for part in (_quiet(claim), asked) if part)
    return " ".join([own] * (_WEIGHT if added else 1) + added)


def leans(question: str, language: str = ENGLISH) -> bool:
    """Whether a question cannot be understood without the turns before it: it points at them, or is short and names
    nothing.
    """
    pointing = _POINTING.get(language)
    if pointing and re.search(
        rf"\b(?:{'|'.join(pointing.split())})\b", _NOT_POINTING.sub(" ", question), re.IGNORECASE
    ):
        return True
    return len(set(tokenise(question, language))) <= _FEW and not (language == ENGLISH and names(question))


def _context(earlier: Sequence[str], language: str) -> list[str]:
    """The words of the last turns that are index terms, each term once, in order."""
    found: dict[tuple[str, ...], str] = {}
    for turn in earlier[-_TURNS:]:
        for word, _, terms in words(fold(turn, language), language):
            if terms and len(found) < _TERMS:
                found.setdefault(terms, word)
    return list(found.values())


def _quiet(text: str) -> str:
    """A text all in capitals, where capitals mark nothing, in lower case: beside other words they would mark names."""
    return text if any(character.islower() for character in text) else text.lower()
