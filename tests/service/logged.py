"""Decisions of scripted corridors for the decision log: drawn at random, each the same again for the same draw."""

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from classifiers import OBJECTIVES, Place, Policy, Rated, Scores
from service.chat import Corridor, Wants
from service.decisions import Decision
from service.generator import Message, Sampling
from tests.service.scripted import (
    ASKS_KENYA,
    ASKS_NOTHING,
    GLAD,
    INVENTED,
    KENYA,
    POLICY,
    ScriptedGenerator,
    ScriptedQuality,
    make_corridor,
    scores_of,
)

TEXTS = (
    GLAD,
    KENYA,
    INVENTED,
    "",
    "A bomb.",
    "Bees make honey from nectar.",
    "Tea is a drink. Bees make honey.",
    "Ünïcode ☕.",
)
CONVERSATIONS: tuple[list[Message], ...] = (
    ASKS_KENYA,
    ASKS_NOTHING,
    [{"role": "system", "content": "Be brief."}, *ASKS_KENYA, {"role": "assistant", "content": KENYA}, *ASKS_NOTHING],
)


@dataclass(frozen=True)
class Situation:
    """What a decision comes from. `rows`: the scores of each text, None for one that cannot be scored; `pool`: what is sampled from.

    `ratings` of each text; None: there is no rater, {}: it fails. `likelihoods`: whether the generator tells them.
    """

    messages: list[Message]
    wants: Wants
    pool: tuple[str, ...]
    rows: dict[str, dict[str, float] | None]
    ratings: dict[str, Rated] | None = None
    likelihoods: bool = True

    def corridor(self, policy: Policy = POLICY) -> Corridor:
        generator = ScriptedGenerator(self._says, likelihood=self._likelihood)
        quality = None if self.ratings is None else ScriptedQuality(self._rated)
        return make_corridor(generator=generator, scores=self._scores, policy=policy, quality=quality)

    def decide(self, policy: Policy = POLICY) -> Decision:
        return self.corridor(policy).reply(self.messages, self.wants)

    def _says(self, messages: Any, n: int, sampling: Sampling) -> list[str]:
        """The same for the same prompt and seed, as of any generator (law 6)."""
        shared = repr((messages, sampling.seed)).encode()
        return [self.pool[hashlib.sha256(b"%d" % at + shared).digest()[0] % len(self.pool)] for at in range(n)]

    def _likelihood(self, text: str) -> float | None:
        return -1.0 - len(text) % 7 if self.likelihoods else None

    def _rated(self, context: Any, texts: Any) -> list[Rated]:
        assert self.ratings is not None
        return [self.ratings[text] for text in texts] if self.ratings else []

    def _scores(self, context: Any, texts: Any, role: str) -> list[Any]:
        return [self._row(text) for text in texts]

    def _row(self, text: str) -> Any:
        row = self.rows.get(text, {})
        if row is None:
            return scores_of(hate=math.nan)
        scores = scores_of(**row)
        places = {name: Place(text[:9], 0, len(text[:9]), "raw") for name in row}
        return Scores(scores, max(scores.values()), places, 0.125)


def probabilities() -> st.SearchStrategy[float]:
    return st.one_of(st.sampled_from([0.0, 0.3, 0.4, 0.6, 0.9, 1.0]), st.floats(0, 1))


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    pool = tuple(draw(st.lists(st.one_of(st.sampled_from(TEXTS), st.text(max_size=20)), min_size=1, max_size=6)))
    messages = draw(st.sampled_from(CONVERSATIONS))
    grounding = draw(st.sampled_from(["off", "cite", "research"]))
    candidates = draw(st.integers(1, 6))
    wants = Wants(
        candidates=candidates,
        choices=draw(st.integers(1, min(candidates, 3))),
        sampling=Sampling(stop=draw(st.sampled_from([(), ("END",)]))),
        seed=draw(st.integers(0, 2**53)),
        grounding=grounding,
        ungrounded=draw(st.sampled_from(["mark", "drop"])) if grounding != "off" else "mark",
        block_input=draw(st.booleans()),
        policy=draw(st.sampled_from([None, None, "strict", "permissive"])),
    )
    raised = st.dictionaries(st.sampled_from(OBJECTIVES[:3]), probabilities(), min_size=1, max_size=2)
    judged = [*dict.fromkeys(pool), messages[-1]["content"]]
    rows = {text: draw(st.one_of(raised, raised, raised, st.just({}), st.none())) for text in judged}
    ratings = st.fixed_dictionaries(dict.fromkeys(pool, rated()))
    rater = draw(st.one_of(st.none(), st.just({}), ratings, ratings))
    return Situation(messages, wants, pool, rows, rater, draw(st.booleans()))


def rated() -> st.SearchStrategy[Rated]:
    return st.lists(probabilities(), min_size=3, max_size=3).map(lambda each: Rated(*sorted(each, reverse=True)))


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """The policy of the tests with other thresholds, actions and fallback texts here and there."""
    changed = dict(POLICY.objectives)
    for name in OBJECTIVES[:3]:
        threshold = draw(st.sampled_from([0.3, 0.5, 0.8]))
        fallback = draw(st.sampled_from([changed[name].fallback, "Let us talk of something else."]))
        action = draw(st.sampled_from(["drop", "drop", "flag"]))
        changed[name] = replace(changed[name], threshold=threshold, fallback=fallback, action=action)
    return replace(POLICY, objectives=changed)
