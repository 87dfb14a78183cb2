"""The model under test: candidates before any filter, and the reply that a client gets.

Knows the corridor's own generator, and any OpenAI-compatible endpoint. Does not know what is measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from service.chat import Corridor, Wants
from service.decisions import Decision
from service.generator import Message, Sampling


@dataclass(frozen=True)
class Answer:
    """What a client gets. `finish_reason`: "stop", "length" or "content_filter"; `seconds`: from request to answer; `decision`:
    Winnow's own record, None from an endpoint; `sources`: title, url and span of each annotation.
    """

    text: str
    finish_reason: str
    seconds: float
    decision: Decision | None = None
    sources: tuple[dict[str, Any], ...] = field(default=())


class Model(Protocol):
    """Something that answers a conversation. `name`: as it is reported."""

    name: str

    @property
    def url(self) -> str | None:
        """Of its server; None where it runs in this process."""
        ...

    def candidates(self, messages: Sequence[Message], n: int, max_tokens: int, seed: int) -> list[str]:
        """So many replies as the model gives them, unfiltered where that can be had."""
        ...

    def answer(self, messages: Sequence[Message], max_tokens: int, seed: int, grounding: str = "off") -> Answer:
        """One reply as a client gets it."""
        ...


class LocalModel:
    """The corridor: its generator's candidates, its own reply, picked from so many (default: as the settings say)."""

    url: str | None = None

    def __init__(self, corridor: Corridor, candidates: int | None = None) -> None:
        self._corridor, self._sampled = corridor, candidates or corridor.settings.candidates
        self.name = corridor.generator.name

    def candidates(self, messages: Sequence[Message], n: int, max_tokens: int, seed: int) -> list[str]:
        sampling = Sampling(max_tokens=max_tokens, seed=seed)
        return [each.text for each in self._corridor.generator.sample(messages, n, sampling)]

    def answer(self, messages: Sequence[Message], max_tokens: int, seed: int, grounding: str = "off") -> Answer:
        wants = Wants(
            candidates=self._sampled,
            sampling=Sampling(max_tokens=max_tokens),
            seed=seed,
            grounding=grounding,
        )
        decision = self._corridor.reply(messages, wants)
        reply = decision.replies[0]
        return Answer(reply.text, reply.finish_reason, sum(decision.seconds.values()), decision)
