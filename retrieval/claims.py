"""Is this sentence a claim: does it say something checkable about the world?

A rule of word patterns, first version, English only: the sources work replaces it. It looks at one sentence alone and
errs by form: an opinion that contains a fact ("I think Kenya has 47 counties.") is no claim here. Does not know about
passages or support.
"""

import re

from retrieval.tokens import fold, tokenise

# Said before the sentence proper; what follows is judged without them ("Sure, the capital of Kenya is Nairobi.").
_OPENER = re.compile(
    r"^(?:(?:hi|hello|hey|sure|great|ok|okay|yes|no|yeah|well|of course|certainly|absolutely|definitely|right|so|oh|ah|"
    r"good question|great question|actually|in fact)(?: there| thing)?\s*[,!.:;\u2013\u2014-]+\s*)+",
    re.IGNORECASE,
)
_COURTESY = re.compile(
    r"^(?:hi|hello|hey|thanks?|thank you|welcome|good (?:morning|afternoon|evening|night|luck)|goodbye|bye|see you|"
    r"you(?:'re| are) (?:very |most )?welcome|take care|sorry|congratulations|nice to|pleased? to|glad|happy to|"
    r"cheers|no problem|have a (?:good|great|nice|lovely)|"
    r"(?:great|good|excellent|interesting) (?:question|point|choice|idea))\b",
    re.IGNORECASE,
)
# "It is a good idea to …" and "That's great!" are opinions; "It is a good source of iron." is not.
_PRAISE = re.compile(
    r"^(?:that|it|this)(?:'s| is) (?:so |very |really |such |quite |a |an )*(?:great|good|nice|wonderful|awesome|"
    r"amazing|lovely|fun|cool|sad|awful|terrible|interesting|beautiful|understandable|ok|okay|fine|important|hard|best)"
    r"(?:\W*$| (?:to|that|if|when|idea|question|choice|point|news|for you)\b)",
    re.IGNORECASE,
)
_OPINION = re.compile(
    r"^(?:i(?:'m|'ve|'d|'ll)?\b|(?:we|one) (?:think|feel|believe|hope|wish|guess|love|like)\b|"
    r"in (?:my|our) (?:opinion|view)\b|my (?:favou?rite|opinion|view|guess|feeling|apologies)\b|personally\b|to me\b|"
    r"(?:that|this|it) sounds\b|sounds (?:like|good|great)\b|what an?\b|hope(?:fully)?\b|"
    r"how (?:nice|great|lovely|sad|interesting|wonderful)\b)",
    re.IGNORECASE,
)
_OFFER = re.compile(
    r"^(?:(?:then|first|next|finally|instead|if [^,]{1,80}),? )?"
    r"(?:let me|let us|let's|feel free|please|don't|do not|try|remember|make sure|be sure|be careful|consider|ask|"
    r"check|tell|keep in mind|note that you|you (?:can|could|may|might|should|must|need|want|will want)|would you|"
    r"here(?:'s| is| are)|below (?:is|are)|is there anything|just (?:ask|say|tell|let))\b",
    re.IGNORECASE,
)
_HEDGE = re.compile(
    r"\b(?:maybe|perhaps|possibly|probably|(?:it )?depends|hard to (?:say|know|tell)|not sure|unsure|who knows|unclear|"
    r"unknown|up to you|could be|might be)\b",
    re.IGNORECASE,
)
_QUESTION = re.compile(r"\?[\"'”’)\]*_!]*$")
_LEAST_WORDS = 2


def is_claim(sentence: str) -> bool:
    """Whether one sentence is a claim, by its form.

    Not a claim: a question; a greeting, thanks or other courtesy; an opinion or feeling, and whatever starts with "I";
    an offer or instruction to the user; a lead-in that ends with a colon; a hedge with nothing behind it; fewer than
    two content words. Any string is accepted.
    """
    text = fold(sentence).strip().strip("*_\"'“”").strip()
    if _QUESTION.search(text) or text.endswith(":"):
        return False
    text = _OPENER.sub("", text)
    if any(pattern.match(text) for pattern in (_COURTESY, _PRAISE, _OPINION, _OFFER)):
        return False
    return len(tokenise(_HEDGE.sub(" ", text))) >= _LEAST_WORDS
