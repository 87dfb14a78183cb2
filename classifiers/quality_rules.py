"""Replies made by rule from the next turns of conversations: what a ranker must put below a true one, and why.

Knows words and chance, which is a hash of the row's id. Does not know where conversations come from.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from classifiers.quality_sets import Answers, NextTurn, RatedReply
from classifiers.upstream import digest

SPECIFIC_WORDS = 8
"""A true next turn of so many words counts as specific, with little weight: people who talk seldom say so much of nothing."""

WEIGHTS = {
    "next": 0.7,  # people too say what does not follow
    "random": 1.0,
    "random too": 1.0,
    # These three are told apart with ease; with more weight they take it from what is hard.
    "shuffled": 0.02,
    "repeated": 0.02,
    "contradicting": 0.02,
    "generic": 0.7,
}

ANSWERS: dict[str, Answers] = {
    "random": (False, None, None),
    "random too": (False, None, None),
    "shuffled": (False, None, None),
    "repeated": (False, None, None),
    "contradicting": (False, None, None),
    "generic": (None, False, None),
}

GENERIC = (
    "I don't know.",
    "Ok.",
    "Okay, thanks.",
    "That's interesting.",
    "I see.",
    "Yes, I agree with you.",
    "No, I don't think so.",
    "Maybe.",
    "I am not sure about that.",
    "That's great!",
    "Really? Tell me more.",
    "Oh, nice.",
    "That is a good question.",
    "I understand what you mean.",
    "It depends.",
    "Sure, why not?",
    "Yeah, that's true.",
    "I have never thought about it that way.",
    "Good for you!",
    "Sorry to hear that.",
    "What do you think?",
    "I could not agree more, well said.",
    "That makes a lot of sense to me.",
    "There are many ways to look at it, and everyone has their own opinion about such things.",
    "It is always good to hear what other people think, and I am happy to talk about it with you.",
    "There is a lot that could be said about this, and it really depends on many different factors.",
    "Thank you for sharing that with me. Is there anything else you would like to talk about?",
    "I think it is important to keep an open mind and to consider all of the options before deciding.",
    "Everyone is different, so what works for one person may not work for another. Do what feels right for you.",
    "I hope that everything works out well for you in the end. Just take it one step at a time.",
    "That's a tough one. I would say it all comes down to what matters most to you.",
    "As an assistant I am here to help. Could you give me some more details?",
    "Yes, absolutely! I feel the same way about it and I'm sure many other people do as well.",
    "Life is full of surprises, and you never know what is going to happen next.",
)


def made_by_rule(turns: Sequence[NextTurn]) -> list[RatedReply]:
    """Each true next turn and what is made of it, in order, those of one context together; a rule that does not apply gives none."""
    others: dict[tuple[str, str], list[NextTurn]] = defaultdict(list)
    for turn in turns:
        others[turn.source, turn.split].append(turn)
    return [row for turn in turns for row in _rows(turn, others[turn.source, turn.split])]


def random_turns(turn: NextTurn, others: Sequence[NextTurn], count: int) -> list[str]:
    """So many next turns of other conversations, no two alike and none the true one; fewer where there are no more."""
    strangers = sorted({other.reply for other in others if other.group != turn.group} - {turn.reply})
    order = _chance(f"{turn.id}#random").permutation(len(strangers))
    return [strangers[i] for i in order[:count]]


def _rows(turn: NextTurn, others: Sequence[NextTurn]) -> Iterator[RatedReply]:
    specific = True if len(turn.reply.split()) >= SPECIFIC_WORDS else None
    true = RatedReply(
        turn.id,
        turn.context,
        turn.reply,
        (True, specific, turn.liked if specific else None),
        "next",
        turn.group,
        turn.source,
        turn.split,
        WEIGHTS["next"],
    )
    yield true
    chance = _chance(turn.id)
    strangers = random_turns(turn, others, 2)
    made = {
        "random": strangers[0] if strangers else None,
        "random too": strangers[1] if len(strangers) > 1 else None,
        "shuffled": shuffled(turn.reply, chance),
        "repeated": str(chance.choice([said for _, said in turn.context])),
        "contradicting": contradicting([said for _, said in turn.context], chance),
        "generic": str(chance.choice(GENERIC)),
    }
    for kind, reply in made.items():
        if reply and reply != turn.reply:
            yield replace(
                true, id=f"{turn.id}#{kind}", reply=reply, answers=ANSWERS[kind], kind=kind, weight=WEIGHTS[kind]
            )


def shuffled(text: str, chance: np.random.Generator) -> str | None:
    """The text's own words in another order; None of fewer than five words, or where all are alike."""
    words = text.split()
    if len(words) < 5 or len(set(words)) < 3:
        return None
    while True:
        found = [words[i] for i in chance.permutation(len(words))]
        if found != words:
            return " ".join(found)


def contradicting(said: Sequence[str], chance: np.random.Generator) -> str | None:
    """A sentence that was said, denied or with another number; None where no sentence can be."""
    sentences = [s for text in said for s in re.split(r"(?<=[.!])\s+", text) if not s.endswith("?")]
    for i in chance.permutation(len(sentences)):
        changed = _denied(sentences[i]) or _other_number(sentences[i])
        if changed:
            return changed
    return None


DENIALS = (
    (r"\b(is|are|was|were|does|did|do|has|had|could|would|should)n['’]t\b", r"\1"),
    (r"\bcan['’]t\b", "can"),
    (r"\bwon['’]t\b", "will"),
    (r"\b(i)['’]m not\b", r"\1 am"),
    (r"\bnever\b", "always"),
    (r"\b(is|are|was|were|can|could|would|should|will|am|has|had) not\b", r"\1"),
    (r"\balways\b", "never"),
    (r"\b(i)['’]m\b", r"\1 am not"),
    (r"\b(it|he|she|that)['’]s\b", r"\1 is not"),
    (r"\b(is|are|was|were|can|could|would|should|will|am)\b", r"\1 not"),
    (r"\b(i|you|we|they) (love|like|think|know|have|want|watch|play|enjoy|need|use|believe|hear)\b", r"\1 don't \2"),
)


def _denied(sentence: str) -> str | None:
    for pattern, put in DENIALS:
        changed, count = re.subn(pattern, put, sentence, count=1, flags=re.IGNORECASE)
        if count:
            return changed
    return None


def _other_number(sentence: str) -> str | None:
    found = re.search(r"\d+", sentence)
    if not found:
        return None
    number = found.group()
    other = str((int(number[0]) + 3) % 9 + 1) + number[1:]
    return sentence[: found.start()] + other + sentence[found.end() :]


def _chance(id: str) -> np.random.Generator:
    return np.random.default_rng(int(digest(id)[:12], 16))
