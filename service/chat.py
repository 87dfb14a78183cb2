"""The corridor: messages -> sample -> screen -> rank -> ground -> reply. Start reading here; every step is a room of its own."""

import secrets
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from classifiers import Policy, QualityRater, SafetyScorer, Verdict
from classifiers.labelled import Turn
from classifiers.policy import Preset
from retrieval import Grounding, Index, SupportScorer, Toolset, ground
from service.clock import Clock
from service.decisions import Decision, Judged, Reply, fallback_text, unsupported
from service.evidence import before_question, look_up, question_of
from service.generator import Candidate, Generator, Message, Sampling
from service.ranking import cut_off, rank, settle
from service.rating import rate
from service.research import Evidence, Research, research
from service.screening import explain, screen
from service.settings import Settings
from service.waves import Waves

BY_WORDS = 0.6
"""The share of a claim's words that a quote must hold, where words alone judge."""


@dataclass(frozen=True)
class Wants:
    """What one request asks for. `seed` None draws one; the decision says which. `grounding`: "off", "cite" or "research".

    `ungrounded`, what becomes of unsupported claims: "keep", "mark", or "drop", which raises ValueError where grounding is off.
    `policy`: a preset whose strictness is wanted too, see `Corridor.tightened`.
    """

    candidates: int = 16
    choices: int = 1
    sampling: Sampling = field(default_factory=Sampling)
    seed: int | None = None
    grounding: str = "cite"
    ungrounded: str = "mark"
    block_input: bool = False
    policy: Preset | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("grounding", ("off", "cite", "research")), ("ungrounded", ("keep", "mark", "drop"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed: {', '.join(allowed)}")
        if self.ungrounded == "drop" and self.grounding == "off":
            raise ValueError("ungrounded is 'drop', which needs grounding 'cite' or 'research', not 'off'")

    @property
    def one_candidate_is_the_reply(self) -> bool:
        """Whether the first candidate that passes will be sent as it is: nothing else could be, and no source is waited for."""
        return self.candidates == 1 and self.grounding != "research" and self.ungrounded != "drop"


@dataclass(frozen=True)
class Corridor:
    """Everything a reply needs. Safe to share where its parts are; `batching.py` makes them so."""

    generator: Generator
    safety: SafetyScorer
    policy: Policy
    index: Index
    settings: Settings
    toolset: Toolset = field(default_factory=Toolset)
    support: SupportScorer | None = None
    """Judges which claims a passage bears out; without one, shared words do."""
    quality: QualityRater | None = None
    """Rates what passed, to rank it; without one, likelihood does."""
    weights: tuple[Path, ...] = ()
    """Folders of the weights in use, each with its checksums."""

    def reply(
        self, messages: Sequence[Message], wants: Wants, tell: Callable[[str], None] = lambda _: None
    ) -> Decision:
        """The decision on one conversation. What it sends has passed every objective, or is the policy's own fallback text.

        `tell` hears how far it has come, in counts ("sampled 16"), never a word of a candidate. Raises `PromptTooLong`,
        `GeneratorFailed`.
        """
        tightened = self.tightened(wants.policy)
        if tightened is not self:
            return tightened.reply(messages, wants, tell)
        clock = Clock()
        seed = secrets.randbelow(2**31) if wants.seed is None else wants.seed
        question = question_of(messages)
        with clock("screen"):
            input_verdict = self.screen(_turns(before_question(messages)), [question], "user")[0]
        with clock("rank"):
            least = self.settings.evidence_relevance
            earlier = [message["content"] for message in before_question(messages) if message["role"] != "system"]
            hits = [] if wants.grounding == "off" else look_up(self.index, question, least, earlier=earlier)

        blocked = wants.block_input and input_verdict.dropped
        waves = self._waves(messages, wants, seed, clock, tell)
        judged = [] if blocked else waves.draft(hits)
        evidence = Evidence(self.index, self.toolset, question, hits, self.support)
        with clock("rank"):
            ranked = self._rank([j for j in judged if j.kept], evidence)
        found = Research(tuple(judged), tuple(ranked))
        if wants.grounding == "research" and ranked:
            found = self._research(found, evidence, waves)
        with clock("ground"):
            replies, held = self._replies(found.ranked, evidence, wants)
        record = tuple(replace(j, ungrounded=any(j is each for each in held)) for j in found.judged)
        fallback = fallback_text(record, self.policy, input_verdict if blocked else None)
        replies += [Reply(fallback, "content_filter", 0, None, None)] * (wants.choices - len(replies))
        return Decision(
            id=f"chatcmpl-{uuid.uuid4().hex}",
            created=int(time.time()),
            model=self.generator.name,
            seed=seed,
            replies=tuple(replies),
            judged=record,
            input_verdict=input_verdict,
            prompt_tokens=self.generator.count_tokens(messages),
            attempts=waves.attempts,
            seconds=clock.seconds,
            versions=self.versions(),
            blocked_input=blocked,
            ungrounded=wants.ungrounded,
            rounds=found.rounds,
            stopped=found.stopped,
            ranked=tuple(next(i for i, j in enumerate(found.judged) if j is each) for each in found.ranked),
            asked=waves.asked,
        )

    def tightened(self, preset: Preset | None) -> "Corridor":
        """The corridor under its policy made as strict as a preset: never looser. Itself where that changes nothing."""
        policy = self.policy.by_preset[preset] if preset else self.policy
        return self if policy is self.policy else replace(self, policy=policy)

    def screen(self, context: Sequence[Turn], texts: Sequence[str], role: str) -> list[Verdict]:
        """One verdict a text, under the corridor's policy and time limit; never raises (law 1)."""
        return screen(self.safety, self.policy, context, texts, self.settings.screen_seconds, role)

    def judge(self, messages: Sequence[Message], texts: Sequence[str]) -> list[Verdict]:
        """One verdict for each text as a reply to the conversation; never raises."""
        return self.screen(_turns(messages), texts, "assistant")

    def explain(self, context: Sequence[Turn], text: str, verdict: Verdict, role: str) -> Verdict:
        """The verdict with its reasons looked into, where the classifier can; never raises."""
        return explain(self.safety, context, text, verdict, role)

    def versions(self) -> dict[str, str]:
        """Of the weights, policy and index that decide."""
        found = {"safety": self.safety.version, "policy": self.policy.fingerprint}
        if self.support is not None:
            found["support"] = self.support.version
        if self.quality is not None:
            found["quality"] = self.quality.version
        return {**found, "index": self.index.generation} if self.index.generation else found

    @property
    def support_threshold(self) -> float:
        """The support from which on a claim is cited: the setting's, else the judge's own."""
        return self.settings.support_threshold or (self.support.threshold if self.support else BY_WORDS)

    def _waves(
        self, messages: Sequence[Message], wants: Wants, seed: int, clock: Clock, tell: Callable[[str], None]
    ) -> Waves:
        return Waves(
            generator=self.generator,
            screen=lambda texts: self.judge(messages, texts),
            messages=messages,
            candidates=wants.candidates,
            sampling=wants.sampling,
            seed=seed,
            steering=self.policy.steering,
            clock=clock,
            rate=lambda texts: rate(self.quality, _turns(messages), texts),
            tell=tell,
        )

    def _rank(self, survivors: Sequence[Judged], evidence: Evidence) -> list[Judged]:
        return rank(survivors, evidence.question, evidence.hits, evidence.weight)

    def _ground(self, candidate: Candidate, evidence: Evidence) -> Grounding:
        return ground(
            candidate.text,
            evidence,
            evidence.question,
            evidence.weight,
            self.support_threshold,
            scorer=evidence.scorer,
            cut_off=cut_off(candidate),
        )

    def _research(self, draft: Research, evidence: Evidence, waves: Waves) -> Research:
        return research(
            draft,
            evidence,
            draw=waves.more,
            ground=lambda candidate: self._ground(candidate, evidence),
            rank=lambda survivors: self._rank(survivors, evidence),
            clock=waves.clock,
            seconds=self.settings.research_seconds,
        )

    def _replies(self, ranked: Sequence[Judged], evidence: Evidence, wants: Wants) -> tuple[list[Reply], list[Judged]]:
        """The best replies that may be sent, at most as many as are asked for, and the better ones that were held back."""
        replies: list[Reply] = []
        held: list[Judged] = []
        for judged, grounding in self._settled(ranked, evidence, wants):
            candidate = judged.candidate
            if wants.ungrounded == "drop" and unsupported(grounding):
                held.append(judged)
            else:
                replies.append(
                    Reply(candidate.text, candidate.finish_reason, candidate.tokens, grounding, judged.verdict)
                )
            if len(replies) == wants.choices:
                break
        return replies, held

    def _settled(
        self, ranked: Sequence[Judged], evidence: Evidence, wants: Wants
    ) -> Iterable[tuple[Judged, Grounding | None]]:
        if wants.grounding == "off":
            return ((judged, None) for judged in ranked)
        return settle(ranked, lambda candidate: self._ground(candidate, evidence), wants.choices)


def _turns(messages: Sequence[Message]) -> list[Turn]:
    return [(m["role"], m["content"]) for m in messages]
