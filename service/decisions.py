"""The decision: the whole record of one reply. Candidates, verdicts, ranks, citations, timings, versions.

Knows what happened. The text of dropped candidates is held here and nowhere else; what goes out is chosen in `wire.py` (law 7).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from classifiers import OBJECTIVES, Verdict
from retrieval import Grounding
from service.generator import Candidate

EMPTY = "empty"
"""The reason for dropping a candidate that says nothing."""


@dataclass(frozen=True)
class Judged:
    """A candidate with its verdict. `with_evidence`: it was sampled with passages quoted in its prompt."""

    candidate: Candidate
    verdict: Verdict
    with_evidence: bool
    attempt: int

    @property
    def kept(self) -> bool:
        return not self.verdict.dropped and bool(self.candidate.text)

    @property
    def reason(self) -> str | None:
        """What dropped it: the objective with the highest score, `unscored` or `empty`; None when kept."""
        if self.verdict.dropped:
            return self.verdict.because[0]
        return None if self.kept else EMPTY


@dataclass(frozen=True)
class Reply:
    """What is sent: a kept candidate's text with its grounding, or a fallback text."""

    text: str
    finish_reason: str
    tokens: int
    grounding: Grounding | None
    verdict: Verdict | None


@dataclass(frozen=True)
class Decision:
    """The record of one request. `seconds`: wall-clock time by phase. `input_verdict`: on the user's last turns."""

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

    @property
    def dropped(self) -> tuple[Judged, ...]:
        return tuple(j for j in self.judged if not j.kept)

    @property
    def dropped_by(self) -> Counter[str]:
        return dropped_by(self.judged)


def dropped_by(judged: tuple[Judged, ...] | list[Judged]) -> Counter[str]:
    """How many candidates each reason dropped; a candidate counts once, for its highest-scoring objective."""
    return Counter(j.reason for j in judged if j.reason is not None)


def chief_objective(judged: list[Judged]) -> str | None:
    """The objective that dropped the most; None when no objective did."""
    counts = {name: n for name, n in dropped_by(judged).items() if name in OBJECTIVES}
    return max(counts, key=lambda name: (counts[name], -OBJECTIVES.index(name))) if counts else None
