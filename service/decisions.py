"""The decision: the whole record of one reply. Candidates, verdicts, ranks, citations, timings, versions.

Knows what happened. The text of dropped candidates is held here and nowhere else; what goes out is chosen in `wire.py` (law 7).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from classifiers import OBJECTIVES, Policy, Rated, Verdict
from retrieval import Claim, Grounding
from service.generator import Candidate

EMPTY = "empty"
"""The reason for dropping a candidate that says nothing."""

UNGROUNDED = "ungrounded"
"""The reason for dropping a candidate with an unsupported claim, where the policy on such claims is `drop`."""


@dataclass(frozen=True)
class Judged:
    """A candidate with its verdict. `with_evidence`: it was sampled with passages quoted in its prompt.

    `round`: of the research that it was sampled in, 0 for the draft. `ungrounded`: held back for an unsupported claim. `rated`: what it
    is ranked by; None when dropped by screening, or where it could not be rated.
    """

    candidate: Candidate
    verdict: Verdict
    with_evidence: bool
    attempt: int
    round: int = 0
    ungrounded: bool = False
    rated: Rated | None = None

    @property
    def kept(self) -> bool:
        return self.reason is None

    @property
    def reason(self) -> str | None:
        """What dropped it: the objective with the highest score, `unscored`, `empty` or `ungrounded`; None when kept."""
        if self.verdict.dropped:
            return self.verdict.because[0]
        if not self.candidate.text:
            return EMPTY
        return UNGROUNDED if self.ungrounded else None


@dataclass(frozen=True)
class Reply:
    """What is sent: a kept candidate's text with its grounding, or a fallback text."""

    text: str
    finish_reason: str
    tokens: int
    grounding: Grounding | None
    verdict: Verdict | None


@dataclass(frozen=True)
class Round:
    """One round of research, counted from 1. Its candidates are those of `Decision.judged` that name it.

    `asked_of`: the candidate, by its place in `Decision.judged`, whose unsupported claims were looked up as `queries`. `results`:
    ids of the passages and tool results that were new. `picked`: the best candidate after the round, by its place, with how
    many claims it makes and how many are supported.
    """

    number: int
    asked_of: int
    queries: tuple[str, ...]
    results: tuple[str, ...]
    sampled: int
    picked: int
    claims: int
    supported: int


@dataclass(frozen=True)
class Decision:
    """The record of one request. `seconds`: wall-clock time by phase. `input_verdict`: on the user's last turns.

    `ungrounded`: the policy on unsupported claims, "keep", "mark" or "drop". `rounds` and why they `stopped`: of research, where it
    was asked for and a draft passed. `ranked`: the survivors by their places in `judged`, best first, before the sources of the first
    few decided between them. `asked`: how many candidates the generator was asked for; of an upstream server fewer may come.
    """

    id: str
    created: int
    model: str
    seed: int
    replies: tuple[Reply, ...]
    judged: tuple[Judged, ...]
    input_verdict: Verdict
    prompt_tokens: int
    attempts: int
    seconds: Mapping[str, float]
    versions: Mapping[str, str]
    blocked_input: bool = False
    ungrounded: str = "mark"
    rounds: tuple[Round, ...] = ()
    stopped: str | None = None
    ranked: tuple[int, ...] = ()
    asked: int = 0

    @property
    def dropped(self) -> tuple[Judged, ...]:
        return tuple(j for j in self.judged if not j.kept)

    @property
    def dropped_by(self) -> Counter[str]:
        return dropped_by(self.judged)


def unsupported(grounding: Grounding | None) -> tuple[Claim, ...]:
    """The claims without support, the contradicted ones among them; none where there was no grounding."""
    return tuple(claim for claim in grounding.claims if claim.label != "supported") if grounding else ()


def dropped_by(judged: Sequence[Judged]) -> Counter[str]:
    """How many candidates each reason dropped; a candidate counts once, for its highest-scoring objective."""
    return Counter(j.reason for j in judged if j.reason is not None)


def chief_objective(judged: Sequence[Judged]) -> str | None:
    """The objective that dropped the most; None when no objective did."""
    counts = {name: n for name, n in dropped_by(judged).items() if name in OBJECTIVES}
    return max(counts, key=lambda name: (counts[name], -OBJECTIVES.index(name))) if counts else None


def fallback_text(judged: Sequence[Judged], policy: Policy, blocked: Verdict | None = None) -> str:
    """The policy's own words where no candidate is sent: for want of a source, or of the objective that dropped the most, or of the one
    by which the input is `blocked`.
    """
    if any(j.ungrounded for j in judged):
        return policy.ungrounded_fallback
    objective = policy.objectives.get((blocked.because[0] if blocked else chief_objective(judged)) or "")
    return objective.fallback if objective else policy.fallback
