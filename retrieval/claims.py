"""Is this sentence a claim: does it say something checkable about the world?

A logistic regression over two dozen counts and flags that a reader can check by eye; `claims.json` holds its weights,
benchmarks/claims.py trains and judges it. English only. Knows forms and lists of words, not meanings: "Citizen Kane is
the greatest film ever made." looks like a fact to it. Does not know about passages or support.
"""

import json
import math
import re
from pathlib import Path

from retrieval.tokens import fold, tokenise

# At this probability a missed claim is taken to cost three times what a false one costs: a claim that is never looked
# up passes unmarked, while chat that is looked up is at worst called unsupported. Set before anything was measured.
_THRESHOLD = 0.25


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_FIRST = _words("i i'm i've i'd i'll im ive me my mine myself")
_SECOND = _words("you your you're you'll you've you'd yours yourself u ur")
_TOGETHER = _words("we us our we're we've we'll let's")
_THIRD = _words(
    "he she it they his her its their him them he's she's it's they're they've he'd she'd they'd it'll itself isn't wasn't"
)
_PRAISE = _words(
    """love loved lovely favourite favorite great nice wonderful awesome amazing beautiful gorgeous cool fun funny
    boring sad awful terrible horrible interesting fascinating stunning splendid adorable overrated underrated enjoy
    charming remarkable incredible brilliant glorious silly crazy wild darling delicious excellent fantastic exciting
    happy glad sorry proud hope wish hate adore lucky jealous worrying worry magic perfect poetic hoot personally honestly
    feels seems sounds taste admire envy"""
)
_COURTESY = _words(
    """congratulations congrats thanks thank thx welcome cheers bye goodbye hello hi hey hiya goodnight ugh ouch wow oh ooh
    haha lol yay aww ok okay yes yeah yep please anytime luck choice"""
)
_HEDGE = _words("depends depend unsure unclear varies vary complicated idea sure whichever whatever whenever guess")
_MODAL = _words("would could might should may can can't couldn't wouldn't shouldn't will won't must")
_AMOUNT = _words(
    """most many few all every each some several half third quarter twice times percent per about around roughly nearly
    almost over under more less than last only usually often generally mostly never always ever since until between largest
    smallest highest oldest million billion thousand hundred dozen two three four five six seven eight nine ten twelve
    year years century known called named"""
)
_CAUSE = _words("because since which so although though while when whose whereas until after before where as if unless")
_TALK = _words(
    """question answer chat message topic joke poem list example here's here below ask asked asking explain mistake apologise
    apologize chatbot tips quick rundown"""
)
_ORDER = _words(
    """add apply ask avoid be bear book bring buy call check choose come consider cut do don't drink eat enjoy expect feel
    find follow get give go guess have hide imagine invest keep label leave let list look make mix move never note open
    pack paste pick picture please practise practice press put reach read remember ring run save see send set show sit
    sleep speak stand start stay stick stir stop take talk tell think treat try turn use visit wait walk wash watch water
    wear work wrap write blot"""
)
_LINK = _words("is are was were has had did does isn't aren't wasn't weren't hasn't didn't doesn't been became it's")
_PERSONAL = _FIRST | _SECOND | _TOGETHER
_LOADED = _PERSONAL | _PRAISE | _COURTESY | _HEDGE | _TALK
_CUT = _words(", ; : ! ? . ( ) – — - because since which that but though although while where whose and")

_PIECE = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*|\d+(?:[.,]\d+)*|[,;:!?.()–—-]")
# "It 's", "do n't": how tokenised text writes what people write as one word.
_LOOSE_ENDING = re.compile(r" (?=n't\b|'(?:s|m|re|ve|ll|d)\b)")
_LIST_MARK = re.compile(r"^(?:[-*•]|\d{1,2}[.)])\s+")
_PAST = re.compile(r"[^\W\d_]{2,30}ed")
_ASKS = re.compile(r"(?:what|what's|who|who's|which|when|where|how|why|name|is|are|was|were|did|do|does|can|capital)\b")
# What is said before the sentence proper ("Sure, ...").
_OPENER = re.compile(
    r"(?:(?:yes|no|yeah|yep|nope|sure|well|oh|ok|okay|so|ah|of course|indeed|right|then|first|next|finally|haha|lol|oh man|"
    r"honestly|also|actually|in fact)\s*[,!.:;–—-]\s*)+"
)
# "I think", "I'm fairly sure", "Perhaps": what follows is judged by itself.
_BELIEF = re.compile(
    r"\b(?:i|i'm|i'd) (?:(?:do|just|really|still|also|fairly|pretty|entirely|quite|not|used to|should) )?"
    r"(?:think|believe|guess|know|suppose|heard|hear|read|reckon|imagine|bet|say|sure|mention|remember)\b"
    r"|\bi find it [a-z]{1,20}\b|\bmy guess would be\b|\bin my (?:opinion|view)\b|\bcorrect me if i'm wrong\b|\b(?:perhaps|maybe)\b"
)
# Questions and winks that tell something: "Did you know that ...?", "Isn't it wild that ...?"
_TELLING = re.compile(
    r"\b(?:(?:did you know|would you believe|can you believe)(?! (?:much|about|how|anything))|isn't it [a-z]{1,20} that"
    r"|believe it or not|fun fact|surprised to learn)\b"
)


def features(sentence: str, before: str = "") -> dict[str, float]:
    """What the regression sees of a sentence, by name: flags 0 or 1, counts cut off at 3, logarithms of lengths."""
    raw = _LOOSE_ENDING.sub("", fold(sentence).strip().strip('*_ "“”'))
    raw = _LIST_MARK.sub("", raw)
    plain = raw.casefold()
    opener = _OPENER.match(plain)
    text, beliefs = _BELIEF.subn(" , ", plain[opener.end() :] if opener else plain)
    text, tellings = _TELLING.subn(" , ", text)
    clauses = _clauses(text)
    words = [word for clause in clauses for word in clause]
    ordered = bool(clauses) and _is_order(clauses[0])
    # The facts inside an opinion: clauses that speak of neither speaker nor hearer and hold no word of praise or hedging.
    bare = [len(clause) for clause in clauses if not _LOADED.intersection(clause) and not _is_order(clause)]
    longest = max(bare, default=0)
    names = sum(
        piece[0].isupper() and piece.casefold() not in _PERSONAL
        for piece in _PIECE.findall(raw)[1:]
        if piece[0].isalpha()
    )
    digits = any(word[0].isdigit() for word in words)

    def among(kind: frozenset[str]) -> int:
        return min(3, sum(word in kind for word in words))

    return {
        "question": float(raw.rstrip("\"'”*_)!. ").endswith("?") and not tellings),
        "telling": float(tellings > 0),
        "exclamation": float(raw.endswith("!")),
        "lead-in": float(raw.endswith(":")),
        "belief": float(beliefs > 0),
        "order": float(ordered),
        "order and reason": float(ordered and longest >= 3 and len(clauses) > 1),
        "speaker first": float(bool(words) and words[0] in _FIRST),
        "speaker": float(among(_FIRST) > 0),
        "hearer": float(among(_SECOND) > 0),
        "both": float(among(_TOGETHER) > 0),
        "third person": float(among(_THIRD) > 0),
        "praise": float(among(_PRAISE)),
        "courtesy": float(among(_COURTESY)),
        "hedge": float(among(_HEDGE) > 0),
        "hedge with little else": float(among(_HEDGE) > 0 and longest < 3),
        "modal": float(among(_MODAL) > 0),
        "amount": float(among(_AMOUNT)),
        "cause": float(among(_CAUSE) > 0),
        "talk": float(among(_TALK) > 0),
        "past": float(any(_PAST.fullmatch(word) for word in words)),
        "link": float(among(_LINK) > 0),
        "digits": float(digits),
        "names": min(3, names) / 3,
        "digits or names in a bare clause": float((digits or names > 0) and longest >= 2),
        "content": math.log1p(len(set(tokenise(raw)))),
        "bare clause": math.log1p(longest),
        "only bare clauses": float(bool(clauses) and len(bare) == len(clauses) and longest >= 2),
        "short answer": float(
            0 < len(words) <= 4 and not _LOADED.intersection(words) and not ordered and _asks(before)
        ),
    }


def _clauses(text: str) -> list[list[str]]:
    """The words between marks and conjunctions; no clause is empty."""
    clauses: list[list[str]] = [[]]
    for piece in _PIECE.findall(text):
        if piece in _CUT:
            clauses.append([])
        else:
            clauses[-1].append(piece)
    return [clause for clause in clauses if clause]


def _is_order(clause: list[str]) -> bool:
    """Whether a clause starts like an order to the hearer: "Keep it cool", not "Water is wet"."""
    return clause[0] in _ORDER and (len(clause) == 1 or clause[1] not in _LINK | _MODAL)


def _asks(before: str) -> bool:
    last = _LOOSE_ENDING.sub("", fold(before)).strip().casefold()
    return last.endswith("?") or _ASKS.match(last) is not None


_MODEL = json.loads(Path(__file__).with_name("claims.json").read_text(encoding="utf-8"))
_WEIGHTS: dict[str, float] = _MODEL["weights"]
_BIAS: float = _MODEL["bias"]


def probability(sentence: str, before: str = "") -> float:
    """The probability, in [0, 1], that one sentence is a claim: the logistic function of the weighted features.

    `before` is the turn it answers, if any: "Mali." claims nothing alone, but does after "Where is Timbuktu?". Any
    string is accepted.
    """
    total = _BIAS + sum(_WEIGHTS[name] * value for name, value in features(sentence, before).items())
    return 1 / (1 + math.exp(-max(-700.0, min(700.0, total))))


def is_claim(sentence: str, before: str = "") -> bool:
    """Whether one sentence is a claim: something checkable about the world, inside an opinion or a chat phrase too.

    Greetings, questions, opinions, feelings, hedges with nothing behind them, offers, instructions and talk about the
    talk are none. When in doubt it says yes, as an unmarked claim is the worse mistake. Whatever holds no letter and
    no digit is no claim. Any string is accepted; the time is linear in its length.
    """
    return any(map(str.isalnum, sentence)) and probability(sentence, before) >= _THRESHOLD
