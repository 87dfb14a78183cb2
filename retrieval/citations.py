"""Reply sentence to passage: which claims of a reply a passage bears out, with both spans and a verbatim quote.

Knows how to look a claim up and which words of a passage to quote. Does not know what makes a sentence a claim
(claims.py), how support is measured (support.py, or a scorer that is passed in) or which engine searches (a Retriever is).
"""

import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from retrieval import support as lexical
from retrieval.bm25 import Hit, Retriever
from retrieval.calculator import Checked, check
from retrieval.claims import is_claim
from retrieval.corpus import Passage
from retrieval.quotes import POINTING, Quote, clauses_of, quote_support, quotes_of, referents_of
from retrieval.sentences import Span, sentences
from retrieval.support import CAP, Weight, names, support
from retrieval.tokens import tokenise

__all__ = [
    "Citation",
    "Claim",
    "Grounding",
    "Judgement",
    "Quote",
    "SupportScorer",
    "coverage",
    "ground",
    "is_claim",
    "support",
]

log = logging.getLogger(__name__)

# Two sentences of a passage cannot bear out a claim of more characters; comparing it with each would only take time.
_LONGEST_CLAIM = 2000
# Passages that a scorer reads for one claim, those whose words come closest: reading is what costs.
_READ = 3
_DENIED = 0.5
# What the words of the closest quote add to a scorer's logit: where they bear the claim out by themselves, and what they take off where
# they hardly do. Neither moves the order on labelled claims; both mend what the scorer gets wrong of short plain facts (data/LOG.md).
_WORDS_AGREE, _WORDS_DISAGREE = 1.0, 1.5
_BORNE_OUT = 0.6
# A claim of one word ("Nairobi", "False") is what it answers with that word: only what bears on the question can support it.
_ONE_WORD_COVERAGE = 0.5
_ENDED = re.compile(r"[.!?…。！？][\W_]*$")


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
    """A claim of the reply, text == reply[start:end], and its citations: none when nothing found supports it, two where it takes two
    passages together. `support`, in [0, 1]: the best that was found, cited or not. `contradicted`: a passage denies it.
    `calculation`: the sum that is all it states, which the calculator bears out or not.
    """

    start: int
    end: int
    text: str
    citations: tuple[Citation, ...] = ()
    support: float = 0.0
    contradicted: bool = False
    calculation: Checked | None = None

    @property
    def label(self) -> str:
        """supported, contradicted or unsupported."""
        if self.citations or (self.calculation is not None and self.calculation.right):
            return "supported"
        return "contradicted" if self.contradicted else "unsupported"


class Judgement(Protocol):
    """Two probabilities in [0, 1]: that a passage bears a claim out, and that it denies it."""

    @property
    def supported(self) -> float: ...

    @property
    def contradicted(self) -> float: ...


class SupportScorer(Protocol):
    """A trained judge of (passage, the turn before or "", claim). The same input gives the same judgement. `threshold`: the support
    from which on it holds a claim to be supported. `version`: of its weights.
    """

    threshold: float
    version: str

    def judge(self, claims: Sequence[tuple[str, str, str]]) -> Sequence[Judgement]:
        """One judgement for each, in order."""
        ...


@dataclass(frozen=True)
class Grounding:
    """Every claim of a reply in order, supported or not."""

    claims: tuple[Claim, ...]

    @property
    def citations(self) -> tuple[Citation, ...]:
        """The citations of the supported claims, in the reply's order."""
        return tuple(citation for claim in self.claims for citation in claim.citations)

    @property
    def claim_count(self) -> int:
        """How many claims the reply makes."""
        return len(self.claims)

    @property
    def supported_count(self) -> int:
        """How many of them have a citation, or are a sum that is right."""
        return sum(claim.label == "supported" for claim in self.claims)

    @property
    def contradicted_count(self) -> int:
        """How many a passage denies, and none bears out."""
        return sum(claim.label == "contradicted" for claim in self.claims)

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
    scorer: SupportScorer | None = None,
    cut_off: bool = False,
) -> Grounding:
    """Looks every claim of a reply up and cites the best quote whose support is at least `threshold`.

    `question` is what the reply answers: it helps the search and says what "it" means. `weight` gives a token's idf; by
    default the retriever's own `weight`, or 1 for every token when it has none. Of equally good quotes the shorter
    wins. `all_sentences`: each sentence with a letter or digit in it is taken for a claim, whatever its form. `scorer`: a trained
    judge, which then decides what is supported in place of the words that claim and quote share; what it cannot judge (an error, a
    figure that is no probability) is not supported. `cut_off`: the text was stopped at a limit;
    a last sentence without an end mark does not say what it would have said, and counts as unsupported. Raises ValueError when the
    threshold is not in (0, 1] or k is below 1.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be above 0 and at most 1, not {threshold}")
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    weigh: Weight = weight or getattr(retriever, "weight", None) or (lambda token: 1.0)
    claims: list[Claim] = []
    before = ""
    spans = sentences(text)
    for start, end in spans:
        sentence = text[start:end]
        unfinished = cut_off and end == spans[-1][1] and not _ENDED.search(sentence)
        if is_claim(sentence, question) or (all_sentences and any(map(str.isalnum, sentence))):
            look = _Look(text, (start, end), retriever, question, before, weigh, threshold, k)
            calculation = _calculation(sentence)
            if unfinished:
                claims.append(Claim(start, end, sentence))
            elif calculation is not None:
                right = calculation.right
                claims.append(Claim(start, end, sentence, (), float(right), not right, calculation))
            else:
                claims.append(look.judged_by(scorer) if scorer is not None else look.by_words())
        # What "it" means was last named by the nearest sentence that names something.
        before = sentence if names(sentence) or not before else before
    return Grounding(tuple(claims))


def coverage(question: str, passage: Passage, weight: Weight) -> float:
    """The share of a question's content tokens, weighted by idf, that a passage and its title hold, in [0, 1].

    Tells whether a passage fits the question at all. Question words and words of asking do not count; a question
    without others gets 0.0.
    """
    return lexical.coverage(question, passage.title, passage.text, weight)


def _calculation(sentence: str) -> Checked | None:
    """The calculation that a sentence states with its result, where it states nothing else."""
    found = check(sentence)
    return found if found and not tokenise(f"{sentence[: found.start]} {sentence[found.end :]}") else None


@dataclass(frozen=True)
class _Look:
    """One claim being looked up."""

    reply: str
    span: Span
    retriever: Retriever
    question: str
    before: str
    weight: Weight
    threshold: float
    k: int

    @property
    def claim(self) -> str:
        return self.reply[slice(*self.span)]

    def by_words(self) -> Claim:
        """Supported where a quote shares enough of its words."""
        best = max((found for hit in self._hits() for found in self._cited(hit)), default=None, key=_rank)
        if best is None:
            return Claim(*self.span, self.claim)
        return Claim(*self.span, self.claim, (best,) if best.score >= self.threshold else (), best.score)

    def judged_by(self, scorer: SupportScorer) -> Claim:
        """Supported where the scorer says that a passage, or the best of them together, bear it out; each cited at the words that
        come closest.
        """
        hits = self._hits()
        if not hits:
            return Claim(*self.span, self.claim)
        cited = {hit.passage.id: max(self._cited(hit), default=None, key=_rank) for hit in hits}
        closest = sorted(hits, key=lambda hit: _rank_or_none(cited[hit.passage.id]), reverse=True)[:_READ]
        read = [[hit] for hit in closest] + ([sorted(closest, key=_place)] if len(closest) > 1 else [])
        try:
            # The closest passage alone is most often enough; the others are read where it is not.
            supported, denied = self._read(read[:1], cited, scorer)
            if supported[0] < self.threshold:
                more, also = self._read(read[1:], cited, scorer)
                supported, denied = supported + more, denied + also
        except Exception:  # whatever fails is no support (law 5), and a reply without sources is still a reply
            log.exception("a claim could not be judged")
            return Claim(*self.span, self.claim)
        best = max(range(len(supported)), key=lambda i: (supported[i], -len(read[i])))
        score = supported[best]
        if score < self.threshold:
            return Claim(*self.span, self.claim, (), score, max(denied) >= _DENIED)
        quotes = [quote for hit in read[best] if (quote := cited[hit.passage.id]) is not None]
        quotes = sorted(quotes, key=_rank, reverse=True)[: 1 if len(read[best]) == 1 else 2]
        quotes += self._beside(quotes, read[best])
        # Without words to quote there is nothing to show, and so no citation.
        return Claim(*self.span, self.claim, tuple(replace(quote, score=score) for quote in quotes), score)

    def _beside(self, quotes: Sequence[Citation], hits: Sequence[Hit]) -> list[Citation]:
        """The quote that bears out a clause of the claim which the only one so far does not hold, where there is one."""
        clauses = clauses_of(self.claim)
        if len(quotes) != 1 or len(clauses) < 2:
            return []
        first = quotes[0].quote
        missing = [c for c in clauses if support(c, first.text, self.weight, first.passage.title) < _BORNE_OUT]
        found = [
            cited
            for clause in missing
            for hit in hits
            for cited in self._cited(hit, clause)
            if cited.score >= _BORNE_OUT and cited.quote != first
        ]
        return [max(found, key=_rank)] if found else []

    def _read(
        self, groups: list[list[Hit]], cited: Mapping[str, Citation | None], scorer: SupportScorer
    ) -> tuple[list[float], list[float]]:
        """Of each group of passages read as one: how far it bears the claim out, by scorer and words, and the probability that it
        denies it.
        """
        about = " ".join(part for part in (self.question, self.before) if part)
        found = scorer.judge([("\n".join(map(_shown, group)), about, self.claim) for group in groups]) if groups else []
        words = [max(_rank_or_none(cited[hit.passage.id])[0] for hit in group) for group in groups]
        return (
            [self._with_words(each.supported, said) for each, said in zip(found, words, strict=True)],
            [_probability(each.contradicted) for each in found],
        )

    def _with_words(self, supported: float, words: float) -> float:
        """A scorer's probability with what the support by words says added to its logit; what is no probability gives 0.0. Of a claim
        of one word its words say nothing: it stands in many a passage.
        """
        if not _probability(supported):
            return 0.0
        shift = _WORDS_AGREE if words >= _BORNE_OUT else -_WORDS_DISAGREE if words <= CAP else 0.0
        p = min(max(supported, 1e-9), 1 - 1e-9)
        known = len(set(tokenise(self.claim))) > 1
        return 1 / (1 + math.exp(-math.log(p / (1 - p)) - (shift if known else 0.0)))

    def _hits(self) -> list[Hit]:
        if len(self.claim) > _LONGEST_CLAIM:
            return []
        before = self.before if POINTING.match(self.claim) else ""
        hits = _candidates(self.claim, self.retriever, self.question, before, self.k)
        if self.question and len(set(tokenise(self.claim))) <= 1:
            return [hit for hit in hits if coverage(self.question, hit.passage, self.weight) >= _ONE_WORD_COVERAGE]
        return hits

    def _cited(self, hit: Hit, clause: str = "") -> Iterator[Citation]:
        """Every true citation of the hit with its support by words, of the claim or of a clause of it.

        Law 4 is checked before a citation may win, so that a false one does not push out a true one.
        """
        referents = referents_of(self.claim, self.question, self.before)
        for drafted in quotes_of(hit.passage):
            score = quote_support(clause or self.claim, drafted, referents, self.weight)
            if score > 0:  # nor is NaN
                citation = Citation(*self.span, self.claim, drafted.quote(), score, hit.score)
                if _is_true(citation, self.reply, self.retriever):
                    yield citation


def _rank(citation: Citation) -> tuple[float, int, float]:
    return round(citation.score, 6), -len(citation.quote.text), citation.bm25


def _rank_or_none(citation: Citation | None) -> tuple[float, int, float]:
    return _rank(citation) if citation is not None else (0.0, 0, 0.0)


def _place(hit: Hit) -> tuple[str, int]:
    return hit.passage.document_id, hit.passage.start


def _shown(hit: Hit) -> str:
    """A passage as a judge reads it: under its title, which may be all that names its subject."""
    title, text = hit.passage.title, hit.passage.text
    return f"{title}: {text}" if title and title.lower() not in text.lower() else text


def _probability(value: float) -> float:
    return value if math.isfinite(value) and 0 <= value <= 1 else 0.0


def _candidates(claim: str, retriever: Retriever, question: str, before: str, k: int) -> list[Hit]:
    """The hits for the claim alone, then those that only its context finds; each passage once, with its first score."""
    found = retriever.search(claim, k)
    if question or before:
        found = [*found, *retriever.search(f"{question} {before} {claim}", k)]
    return list({hit.passage.id: hit for hit in reversed(found) if math.isfinite(hit.score)}.values())[::-1]


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
