"""The corridor: messages -> sample -> screen -> rank -> ground -> reply. Start reading here; every step is a room of its own."""

import secrets
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from classifiers import Policy, SafetyScorer, Verdict
from classifiers.labelled import Turn
from retrieval import Hit, Index, Toolset, ground
from service.clock import Clock
from service.decisions import Decision, Judged, Reply, chief_objective
from service.evidence import before_question, look_up, question_of, steered, with_evidence
from service.generator import Candidate, Generator, Message, PromptTooLong, Sampling
from service.ranking import rank
from service.screening import explain, screen
from service.settings import Settings


@dataclass(frozen=True)
class Wants:
    """What one request asks for. `seed` None draws one; the decision says which. `grounding`: "cite" or "off"."""

    candidates: int = 16
    choices: int = 1
    sampling: Sampling = field(default_factory=Sampling)
    seed: int | None = None
    grounding: str = "cite"
    block_input: bool = False


@dataclass(frozen=True)
class Corridor:
    """Everything a reply needs. Safe to share; one request runs at a time (see `app.py`)."""

    generator: Generator
    safety: SafetyScorer
    policy: Policy
    index: Index
    settings: Settings
    toolset: Toolset = field(default_factory=Toolset)

    def reply(self, messages: Sequence[Message], wants: Wants) -> Decision:
        """The decision on one conversation. What it sends has passed every objective, or is the policy's own fallback text.

        Raises `PromptTooLong`.
        """
        clock = Clock()
        seed = secrets.randbelow(2**31) if wants.seed is None else wants.seed
        question = question_of(messages)
        with clock("screen"):
            input_verdict = self.screen(_turns(before_question(messages)), [question], "user")[0]
        with clock("rank"):
            hits = look_up(self.index, question, self.settings.evidence_coverage) if wants.grounding == "cite" else []

        judged: list[Judged] = []
        survivors: list[Judged] = []
        attempt = 0
        blocked = wants.block_input and input_verdict.dropped
        while not survivors and attempt < 2 and not blocked:
            told = steered(messages, self.policy.steering) if attempt else messages
            try:
                with clock("generate"):
                    drawn = self._sample(told, hits, wants, seed, attempt)
            except PromptTooLong:
                if not attempt:
                    raise
                break  # there is no room for the steering prompt
            with clock("screen"):
                verdicts = self.screen(_turns(messages), [candidate.text for candidate, _ in drawn], "assistant")
            fresh = [Judged(c, v, e, attempt) for (c, e), v in zip(drawn, verdicts, strict=True)]
            judged += fresh
            survivors = [j for j in fresh if j.kept]
            attempt += 1

        with clock("rank"):
            ranked = rank(survivors, question, hits, self.index.weight, self.settings.support_threshold)
        with clock("ground"):
            replies = [self._reply(j, question, wants) for j in ranked[: wants.choices]]
        replies += [self._fallback(judged, input_verdict if blocked else None)] * (wants.choices - len(replies))
        return Decision(
            id=f"chatcmpl-{uuid.uuid4().hex}",
            created=int(time.time()),
            model=self.generator.name,
            seed=seed,
            replies=tuple(replies),
            judged=tuple(judged),
            input_verdict=input_verdict,
            prompt_tokens=self.generator.count_tokens(messages),
            attempts=attempt,
            seconds=clock.seconds,
            versions={"safety": self.safety.version, "policy": self.policy.fingerprint},
            blocked_input=blocked,
        )

    def screen(self, context: Sequence[Turn], texts: Sequence[str], role: str) -> list[Verdict]:
        """One verdict a text, under the corridor's policy and time limit; never raises (law 1)."""
        return screen(self.safety, self.policy, context, texts, self.settings.screen_seconds, role)

    def explain(self, context: Sequence[Turn], text: str, verdict: Verdict, role: str) -> Verdict:
        """The verdict with its reasons looked into, where the classifier can; never raises."""
        return explain(self.safety, context, text, verdict, role)

    def _sample(
        self, messages: Sequence[Message], hits: Sequence[Hit], wants: Wants, seed: int, attempt: int
    ) -> list[tuple[Candidate, bool]]:
        """Candidates, and whether each saw the evidence: half of them where there is some, the odd one included."""
        informed = (wants.candidates + 1) // 2 if hits else 0
        drawn: list[tuple[Candidate, bool]] = []
        if informed:
            sampling = replace(wants.sampling, seed=4 * seed + 2 * attempt + 1)
            try:
                found = self.generator.sample(with_evidence(messages, hits), informed, sampling)
            except PromptTooLong:  # the conversation may still fit without the evidence
                found = []
            drawn = [(candidate, True) for candidate in found]
        if wants.candidates > len(drawn):
            sampling = replace(wants.sampling, seed=4 * seed + 2 * attempt)
            drawn += [(c, False) for c in self.generator.sample(messages, wants.candidates - len(drawn), sampling)]
        return drawn

    def _reply(self, judged: Judged, question: str, wants: Wants) -> Reply:
        candidate = judged.candidate
        grounding = None
        if wants.grounding == "cite":
            grounding = ground(candidate.text, self.index, question, self.index.weight, self.settings.support_threshold)
        return Reply(candidate.text, candidate.finish_reason, candidate.tokens, grounding, judged.verdict)

    def _fallback(self, judged: list[Judged], input_verdict: Verdict | None) -> Reply:
        """The policy's own words: of the objective that dropped the most, or that blocked the input."""
        chief = input_verdict.because[0] if input_verdict else chief_objective(judged)
        objective = self.policy.objectives.get(chief or "")
        text = objective.fallback if objective else self.policy.fallback
        return Reply(text, "content_filter", 0, None, None)


def _turns(messages: Sequence[Message]) -> list[Turn]:
    return [(m["role"], m["content"]) for m in messages]
