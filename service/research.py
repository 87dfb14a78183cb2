"""The research loop: what the best candidate says without support is looked up, and more are sampled with what was found.

Draft first, then at most four rounds, as LaMDA does (arXiv 2201.08239, section 6.2). Knows what to ask, what is new and when
to stop. Does not know how candidates are sampled and screened: `draw` is passed in, so that none comes in unscreened (law 1).
"""

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from retrieval import Claim, Grounding, Hit, Index, Passage, SupportScorer, ToolResult, Toolset, relevance
from service.clock import Clock
from service.decisions import Judged, Round, unsupported
from service.faults import describe
from service.generator import Candidate, GeneratorFailed, PromptTooLong
from service.ranking import closeness, merit, share
from service.remembering import Remembered

MOST_ROUNDS = 4
MOST_CLAIMS = 4
"""Claims looked up in one round."""
MOST_KEPT = 2
"""Passages kept of one search."""
LEAST_RELEVANCE = 0.3
MOST_SHOWN = 3
"""Passages and results in one prompt: a small model loses the question among more."""
FINALISTS = 4
"""Survivors of each wave that are grounded in the whole index; the others keep the rank that the shown passages gave them."""

log = logging.getLogger(__name__)


class ToolPassage(Passage):
    """A tool's own result, citable like a passage. `document_id` is the tool's name; no document can pass for one."""


class Evidence:
    """What was found for one question, and a retriever for grounding: the index with the tools' own results beside it."""

    def __init__(
        self,
        index: Index,
        toolset: Toolset,
        question: str,
        hits: Sequence[Hit],
        scorer: SupportScorer | None = None,
        least: float = LEAST_RELEVANCE,
    ) -> None:
        """`hits`: what the first wave is shown. `scorer`: judges support, each reading once. `least`: the relevance to the question or
        to a claim that a passage must have to be found."""
        self.question = question
        self.hits = list(hits)
        self.scorer = Remembered(scorer) if scorer is not None else None
        self._index, self._toolset, self._least = index, toolset, least
        self._seen = {hit.passage.id for hit in hits}
        self._asked: set[str] = set()
        self._results: dict[str, Hit] = {}

    @property
    def result_count(self) -> int:
        """How many results of tools, besides passages of the index, can be cited."""
        return len(self._results)

    def weight(self, token: str) -> float:
        """The idf of a term in the index."""
        return self._index.weight(token)

    def passage(self, id: str) -> Passage:
        """The passage or result of this id. Raises KeyError when there is none."""
        return self._results[id].passage if id in self._results else self._index.passage(id)

    def search(self, query: str, k: int = 5) -> list[Hit]:
        """Every result of the tools, then the best `k` passages of the index."""
        return [*self._results.values(), *self._index.search(query, k)]

    def unasked(self, claims: Sequence[Claim]) -> list[str]:
        """The texts of the claims that were not looked up yet, at most `MOST_CLAIMS`."""
        return [text for text in dict.fromkeys(c.text for c in claims) if text not in self._asked][:MOST_CLAIMS]

    def look_up(self, claims: Sequence[str]) -> list[Hit]:
        """What the tools return for each claim, alone and after the question, and the first time for the question: only the new."""
        asked = [(text, claim) for claim in claims for text in (claim, f"{self.question} {claim}")]
        if claims and not self._asked:
            asked.insert(0, (self.question, self.question))
        self._asked.update(claims)
        return [hit for text, claim in asked for hit in self._new(text, claim)]

    def shown(self, fresh: Sequence[Hit]) -> list[Hit]:
        """What the next prompt quotes: the new first, then what was found before."""
        new = {hit.passage.id for hit in fresh}
        return [*fresh, *(hit for hit in self.hits if hit.passage.id not in new)][:MOST_SHOWN]

    def _new(self, text: str, claim: str) -> list[Hit]:
        fresh = []
        kept: Counter[str] = Counter()
        results = self._run(text)
        bearing = self._bearing([result.hit for result in results if result.hit], claim)
        for result in results:
            hit = result.hit or _own(result)
            if hit is None or (result.hit and (kept[result.tool] == MOST_KEPT or hit.passage.id not in bearing)):
                continue
            kept[result.tool] += 1
            if hit.passage.id not in self._seen:
                self._seen.add(hit.passage.id)
                self.hits.append(hit)
                fresh.append(hit)
                if isinstance(hit.passage, ToolPassage):
                    self._results[hit.passage.id] = hit
        return fresh

    def _run(self, text: str) -> list[ToolResult]:
        try:
            return self._toolset.results(text)
        except Exception as error:  # a tool that fails has found nothing
            log.error("a tool failed with %s", describe(error))
            return []

    def _bearing(self, hits: Sequence[Hit], claim: str) -> set[str]:
        """The ids of the passages that bear on the claim or on the question."""
        return {
            hit.passage.id
            for asked in (claim, self.question)
            for hit, probability in zip(hits, relevance(asked, hits, self.weight), strict=True)
            if probability >= self._least
        }


def _own(result: ToolResult) -> Hit | None:
    text = result.output.strip()
    if not text:
        return None
    id = f"{result.tool}#{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:12]}"
    title, source = result.tool.capitalize(), f"tool: {result.tool}"
    return Hit(ToolPassage(id, result.tool, title, "", source, text, 0, len(text)), 0.0)


@dataclass(frozen=True)
class Research:
    """What the loop came to: every candidate, the survivors best first, every round, and why there was no further one.

    `stopped`: "supported" (every claim of the best candidate), "no claims", "nothing new", "rounds" (four were made), "time",
    "too long" (no room for the evidence), "generator failed"; None where nothing was looked for.
    """

    judged: tuple[Judged, ...]
    ranked: tuple[Judged, ...]
    rounds: tuple[Round, ...] = ()
    stopped: str | None = None


def research(
    draft: Research,
    evidence: Evidence,
    draw: Callable[[Sequence[Hit], int], list[Judged]],
    ground: Callable[[Candidate], Grounding],
    rank: Callable[[Sequence[Judged]], list[Judged]],
    clock: Clock,
    seconds: float,
) -> Research:
    """Looks up and samples again until every claim of the best candidate is supported or nothing new comes back.

    `draft`: the candidates so far and their survivors, one at least. `draw(passages, round)` samples with the passages in the
    prompt and screens; it may raise `PromptTooLong`, `GeneratorFailed`. `ground` gives the claims of a candidate; `rank` orders
    survivors. No round begins when `seconds` have passed: the one thing in a decision that depends on the machine's speed.

    Best is who has the largest share of claims supported, a contradicted one counting against it; of equals the safer by a tenth
    or more, then whose claims have the better support, then the better by its rating and likelihood.
    """
    started = time.monotonic()
    everyone, finalists, rounds = list(draft.judged), list(draft.ranked[:FINALISTS]), list[Round]()
    known: dict[tuple[str, int], Grounding] = {}

    def grounding(candidate: Judged) -> Grounding:
        key = candidate.candidate.text, evidence.result_count
        if key not in known:
            with clock("ground"):
                known[key] = ground(candidate.candidate)
        return known[key]

    def standing(candidate: Judged) -> tuple[float, float, float, tuple[float, float]]:
        found = grounding(candidate)
        return share(found), -round(candidate.verdict.unsafe, 1), round(closeness(found), 1), merit(candidate)

    best, stopped = max(finalists, key=standing), ""
    while not stopped:
        open_claims = unsupported(grounding(best))
        if not open_claims:
            stopped = "supported" if grounding(best).claims else "no claims"
        elif len(rounds) == MOST_ROUNDS:
            stopped = "rounds"
        elif time.monotonic() - started >= seconds:
            stopped = "time"
        elif not (claims := evidence.unasked(open_claims)):
            stopped = "nothing new"
        else:
            with clock("rank"):
                fresh = evidence.look_up(claims)
            drawn: list[Judged] = []
            if not fresh:
                stopped = "nothing new"
            else:
                try:
                    drawn = _drawn(draw, evidence.shown(fresh), len(rounds) + 1)
                except PromptTooLong:
                    stopped = "too long"
                except GeneratorFailed:
                    stopped = "generator failed"
            asked = _place(best, everyone)
            everyone += drawn
            with clock("rank"):
                finalists += rank([each for each in drawn if each.kept])[:FINALISTS]
            best = max(finalists, key=standing)
            rounds.append(
                Round(
                    number=len(rounds) + 1,
                    asked_of=asked,
                    queries=tuple(claims),
                    results=tuple(hit.passage.id for hit in fresh),
                    sampled=len(drawn),
                    picked=_place(best, everyone),
                    claims=len(grounding(best).claims),
                    supported=grounding(best).supported_count,
                )
            )
    first = sorted(finalists, key=standing, reverse=True)
    with clock("rank"):
        others = rank([each for each in everyone if each.kept and not any(each is one for one in finalists)])
    return Research(tuple(everyone), (*first, *others), tuple(rounds), stopped)


def _drawn(draw: Callable[[Sequence[Hit], int], list[Judged]], shown: Sequence[Hit], number: int) -> list[Judged]:
    """Candidates with the evidence, or with the first piece of it where there is no room for all. Raises `PromptTooLong`."""
    try:
        return draw(shown, number)
    except PromptTooLong:
        return draw(shown[:1], number)


def _place(judged: Judged, among: Sequence[Judged]) -> int:
    return next(number for number, each in enumerate(among) if each is judged)
