"""Reply sentence to passage: which claims of a reply a passage bears out, with both spans and a verbatim quote.

Knows how to look a claim up and which words of a passage to quote. Does not know what makes a sentence a claim
(claims.py), how support is measured (support.py) or which engine searches (a Retriever is passed in).
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from retrieval import support as lexical
from retrieval.bm25 import Hit, Retriever
from retrieval.claims import is_claim
from retrieval.corpus import Passage
from retrieval.sentences import Span, sentences
from retrieval.support import CAP, Weight, names, support
from retrieval.tokens import tokenise

__all__ = ["Citation", "Claim", "Grounding", "Quote", "coverage", "ground", "is_claim", "support"]

# A subject that only points elsewhere: what it points at must be in the quote or its title too.
_POINTING = re.compile(r"^\W*(?:it|its|they|their|he|his|she|her|this|these|that|those|there)\b", re.IGNORECASE)
_DEFINITE = re.compile(r"^\W*the\b", re.IGNORECASE)
# Two sentences of a passage cannot bear out a claim of more characters; comparing it with each would only take time.
_LONGEST_CLAIM = 2000
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


@dataclass(frozen=True)
class Citation:
    """A claim's span in the reply with the quote that bears it out; `score` is support in [0, 1], `bm25` the passage's
    search score.
    """

    start: int
    end: int
    claim: str
    quote: Quote
    score: float
    bm25: float


@dataclass(frozen=True)
class Claim:
    """A claim of the reply, text == reply[start:end], and its citation: None when nothing found supports it. `support`, in [0, 1]:
    the best that was found, cited or not.
    """

    start: int
    end: int
    text: str
    citation: Citation | None = None
    support: float = 0.0


@dataclass(frozen=True)
class Grounding:
    """Every claim of a reply in order, supported or not."""

    claims: tuple[Claim, ...]

    @property
    def citations(self) -> tuple[Citation, ...]:
        """The citations of the supported claims, in the reply's order."""
        return tuple(claim.citation for claim in self.claims if claim.citation is not None)

    @property
    def claim_count(self) -> int:
        """How many claims the reply makes."""
        return len(self.claims)

    @property
    def supported_count(self) -> int:
        """How many of them have a citation."""
        return len(self.citations)

    @property
    def score(self) -> float | None:
        """Supported claims over claims, in [0, 1]; None ("not applicable") for a reply without claims: absence is not
        support.
        """
        return self.supported_count / self.claim_count if self.claims else None

    @property
    def support(self) -> float | None:
        """The support of the weakest claim, in [0, 1]; None for a reply without claims."""
        return min((claim.support for claim in self.claims), default=None)


def ground(
    text: str,
    retriever: Retriever,
    question: str = "",
    weight: Weight | None = None,
    threshold: float = 0.6,
    k: int = 5,
    all_sentences: bool = False,
) -> Grounding:
    """Looks every claim of a reply up and cites the best quote whose support is at least `threshold`.

    `question` is what the reply answers: it helps the search and says what "it" means. `weight` gives a token's idf; by
    default the retriever's own `weight`, or 1 for every token when it has none. Of equally good quotes the shorter
    wins. `all_sentences`: each sentence with a letter or digit in it is taken for a claim, whatever its form. Raises ValueError
    when the threshold is not in (0, 1] or k is below 1.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be above 0 and at most 1, not {threshold}")
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    weigh: Weight = weight or getattr(retriever, "weight", None) or (lambda token: 1.0)
    claims: list[Claim] = []
    before = ""
    for start, end in sentences(text):
        sentence = text[start:end]
        if is_claim(sentence) or (all_sentences and any(map(str.isalnum, sentence))):
            citation, best = _cite(text, (start, end), retriever, question, before, weigh, threshold, k)
            claims.append(Claim(start, end, sentence, citation, best))
        # What "it" means was last named by the nearest sentence that names something.
        before = sentence if names(sentence) or not before else before
    return Grounding(tuple(claims))


def coverage(question: str, passage: Passage, weight: Weight) -> float:
    """The share of a question's content tokens, weighted by idf, that a passage and its title hold, in [0, 1].

    Tells whether a passage fits the question at all. Question words and words of asking do not count; a question
    without others gets 0.0.
    """
    return lexical.coverage(question, passage.title, passage.text, weight)


def _cite(
    text: str, span: Span, retriever: Retriever, question: str, before: str, weight: Weight, threshold: float, k: int
) -> tuple[Citation | None, float]:
    """The best citation of a claim, if any, and the best support that any true quote gives it."""
    claim = text[span[0] : span[1]]
    if len(claim) > _LONGEST_CLAIM:
        return None, 0.0
    referents = _referents(claim, question, before)
    best: tuple[tuple[float, int, float], Citation] | None = None
    for hit in _candidates(claim, retriever, question, before if _POINTING.match(claim) else "", k):
        for quote in _quotes(hit.passage):
            score = _quote_support(claim, quote, referents, weight)
            if not score > 0:  # nor is NaN
                continue
            citation = Citation(*span, claim, _as_quote(hit.passage, quote), score, hit.score)
            rank = (round(score, 6), -len(citation.quote.text), hit.score)
            # Law 4 is checked before a citation may win, so that a false one does not push out a true one.
            if (best is None or rank > best[0]) and _is_true(citation, text, retriever):
                best = rank, citation
    if best is None:
        return None, 0.0
    found = best[1]
    return (found if found.score >= threshold else None), found.score


def _candidates(claim: str, retriever: Retriever, question: str, before: str, k: int) -> list[Hit]:
    """The hits for the claim alone, then those that only its context finds; each passage once, with its first score."""
    found = retriever.search(claim, k)
    if question or before:
        found = [*found, *retriever.search(f"{question} {before} {claim}", k)]
    return list({hit.passage.id: hit for hit in reversed(found) if math.isfinite(hit.score)}.values())[::-1]


def _referents(claim: str, question: str, before: str) -> tuple[str, ...] | None:
    """Tokens of which a quote (or its title) must hold one for the claim to be about the same thing; None when the
    claim names it itself.

    A claim that starts with a pronoun points at the names before it, or failing names at any content word. One that
    starts with "The" and names nothing that the question names ("The capital is Nairobi.") is about what the question
    names.
    """
    if _POINTING.match(claim):
        return names(before) or names(question) or tuple(tokenise(before)) or tuple(tokenise(question))
    asked = names(question)
    if _DEFINITE.match(claim) and asked and not set(asked) & set(tokenise(claim)):
        return tuple(dict.fromkeys((*asked, *names(before))))
    return None


@dataclass(frozen=True)
class _Candidate:
    """A quote in the making: one sentence, or two neighbours, as spans in the passage's own text."""

    passage: Passage
    parts: tuple[Span, ...]

    def text(self, part: int) -> str:
        start, end = self.parts[part]
        return self.passage.text[start:end]


def _quotes(passage: Passage) -> Iterator[_Candidate]:
    spans = sentences(passage.text)
    for number, span in enumerate(spans):
        yield _Candidate(passage, (span,))
        if number + 1 < len(spans):
            yield _Candidate(passage, (span, spans[number + 1]))


def _quote_support(claim: str, quote: _Candidate, referents: tuple[str, ...] | None, weight: Weight) -> float:
    """Support of a claim by one sentence, or by two where the second leans on the first or each bears out a part of the
    claim.
    """
    title = quote.passage.title
    if len(quote.parts) == 1:
        score = support(claim, quote.text(0), weight, title)
    elif _POINTING.match(quote.text(1)):
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


def _by_clauses(claim: str, quote: _Candidate, weight: Weight, title: str) -> float:
    """A compound claim by two sentences: its weakest clause, each clause by the sentence that supports it better; 0.0
    for a simple claim.

    Two sentences are never pooled for one clause: "The capital is Nairobi. Mombasa is a port." holds every word of a
    false claim.
    """
    clauses = [clause for clause in _CLAUSE.split(claim) if tokenise(clause)]
    if len(clauses) < 2:
        return 0.0
    whole = support(claim, f"{quote.text(0)} {quote.text(1)}", weight, title)  # counts numbers and negations over both
    return min(whole, *(max(support(clause, quote.text(part), weight, title) for part in (0, 1)) for clause in clauses))


def _as_quote(passage: Passage, candidate: _Candidate) -> Quote:
    start, end = candidate.parts[0][0], candidate.parts[-1][1]
    return Quote(passage, passage.start + start, passage.start + end, passage.text[start:end])


def _is_true(citation: Citation, reply: str, retriever: Retriever) -> bool:
    """Law 4: the passage is in the index that answered, the quote is verbatim at its offsets, the span lies in the
    reply.
    """
    quote, passage = citation.quote, citation.quote.passage
    lookup = getattr(retriever, "passage", None)  # an engine without one is taken at its word
    if lookup is not None:
        try:
            if lookup(passage.id) != passage:
                return False
        except KeyError:
            return False
    within = passage.start <= quote.start < quote.end <= passage.end
    verbatim = quote.text == passage.text[quote.start - passage.start : quote.end - passage.start]
    placed = 0 <= citation.start < citation.end <= len(reply) and reply[citation.start : citation.end] == citation.claim
    return within and verbatim and placed
