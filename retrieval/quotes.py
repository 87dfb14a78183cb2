"""Which words of a passage can be quoted for a claim, and how far they bear it out by what they say.

Knows sentences, and what a pronoun at the head of one points at. Does not know how passages are found.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from retrieval import support as lexical
from retrieval.corpus import Passage
from retrieval.sentences import Span, sentences
from retrieval.support import CAP, Weight, names, support
from retrieval.tokens import tokenise

# A subject that only points elsewhere: what it points at must be in the quote or its title too.
POINTING = re.compile(r"^\W*(?:it|its|they|their|he|his|she|her|this|these|that|those|there)\b", re.IGNORECASE)
_DEFINITE = re.compile(r"^\W*the\b", re.IGNORECASE)
_CLAUSE = re.compile(r",? and |; |,? but |, while |, which |, where ")


@dataclass(frozen=True)
class Quote:
    """Words of a passage. Law: text == passage.text[start - passage.start : end - passage.start]; offsets are in the
    document.
    """

    passage: Passage
    start: int
    end: int
    text: str


def referents_of(claim: str, question: str, before: str) -> tuple[str, ...] | None:
    """Tokens of which a quote (or its title) must hold one for the claim to be about the same thing; None when the
    claim names it itself.

    A claim that starts with a pronoun points at the names before it, or failing names at any content word. One that
    starts with "The" and names nothing that the question names ("The capital is Nairobi.") is about what the question
    names.
    """
    if POINTING.match(claim):
        return names(before) or names(question) or tuple(tokenise(before)) or tuple(tokenise(question))
    asked = names(question)
    if _DEFINITE.match(claim) and asked and not set(asked) & set(tokenise(claim)):
        return tuple(dict.fromkeys((*asked, *names(before))))
    return None


@dataclass(frozen=True)
class Drafted:
    """A quote in the making: one sentence, or two neighbours, as spans in the passage's own text."""

    passage: Passage
    parts: tuple[Span, ...]

    def text(self, part: int) -> str:
        """The words of one of the sentences."""
        start, end = self.parts[part]
        return self.passage.text[start:end]

    def quote(self) -> Quote:
        """As words of the document."""
        start, end = self.parts[0][0], self.parts[-1][1]
        return Quote(self.passage, self.passage.start + start, self.passage.start + end, self.passage.text[start:end])


def quotes_of(passage: Passage) -> Iterator[Drafted]:
    """Each sentence of a passage, and each two neighbours."""
    spans = sentences(passage.text)
    for number, span in enumerate(spans):
        yield Drafted(passage, (span,))
        if number + 1 < len(spans):
            yield Drafted(passage, (span, spans[number + 1]))


def clauses_of(claim: str) -> list[str]:
    """The clauses of a compound claim that hold content, as far as joining words and marks tell."""
    return [clause for clause in _CLAUSE.split(claim) if tokenise(clause)]


def quote_support(claim: str, quote: Drafted, referents: tuple[str, ...] | None, weight: Weight) -> float:
    """Support of a claim by one sentence, or by two where the second leans on the first or each bears out a part of the
    claim.
    """
    title = quote.passage.title
    if len(quote.parts) == 1:
        score = support(claim, quote.text(0), weight, title)
    elif POINTING.match(quote.text(1)):
        # The first sentence lends the second its names alone: "The capital is Nairobi. It replaced Mombasa." proves no
        # capital Mombasa.
        score = support(claim, quote.text(1), weight, f"{title} {' '.join(names(quote.text(0)))}")
    else:
        score = _by_clauses(claim, quote, weight, title)
    if referents is not None and score > CAP:
        whole = frozenset(tokenise(f"{title} {' '.join(quote.text(part) for part in range(len(quote.parts)))}"))
        if not any(lexical.holds(whole, token) for token in referents):
            return CAP
    return score


def _by_clauses(claim: str, quote: Drafted, weight: Weight, title: str) -> float:
    """A compound claim by two sentences: its weakest clause, each clause by the sentence that supports it better; 0.0
    for a simple claim.

    Two sentences are never pooled for one clause: "The capital is Nairobi. Mombasa is a port." holds every word of a
    false claim.
    """
    clauses = clauses_of(claim)
    if len(clauses) < 2:
        return 0.0
    whole = support(claim, f"{quote.text(0)} {quote.text(1)}", weight, title)  # counts numbers and negations over both
    return min(whole, *(max(support(clause, quote.text(part), weight, title) for part in (0, 1)) for clause in clauses))
