"""The safety classifier: (context, reply) to one score per objective to a verdict with reasons.

Knows the backbone, the readout and the policy. Does not know where replies come from or where they go.

    from classifiers import Safety
    verdict = Safety.load().judge([{"role": "user", "content": "I feel low."}], ["Talk to a friend?"])[0]
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from classifiers.backbone import Asked, Backbone, Features, Window
from classifiers.disguise import Words, undisguised
from classifiers.labelled import Turn
from classifiers.own_objective import Head
from classifiers.policy import OBJECTIVES, Policy, load_policy
from classifiers.readout import Scorer
from classifiers.sentences import Span, sentences
from classifiers.states import States
from classifiers.verdicts import Place, Scores, Verdict, judge
from data import MODELS

SHIPPED = MODELS / "safety"
EXPLAINED = 48
"""Sentences that `Safety.explain` reads at most, the nearest to the place that one reading of the text named."""


class SafetyScorer(Protocol):
    """What the filter asks of a classifier: for each reply a mapping of every objective to a probability in [0, 1].

    A `Scores` mapping also tells the overall probability and which sentence decided; a plain one will do.
    """

    version: str

    def scores(
        self, context: Sequence[Turn], replies: Sequence[str], role: str = "assistant"
    ) -> Sequence[Mapping[str, float]]:
        """One mapping a reply, in order. May raise; whoever calls it treats that as unscored."""
        ...


class Safety:
    """The shipped classifier under a policy."""

    def __init__(self, backbone: Backbone, scorer: Scorer, policy: Policy) -> None:
        self.backbone = backbone
        self.scorer = scorer
        self._words = Words.of_vocabulary(backbone.tokenizer.get_vocab())
        self.version = scorer.version
        self._kept = States()
        self._obey(policy)

    @classmethod
    def load(cls, policy: str | Path | Policy | None = None, folder: Path = SHIPPED) -> "Safety":
        """The classifier with a preset ("strict", "balanced", "permissive"), a policy file or a policy.

        Raises `policy.PolicyError`, `models.DamagedWeights`, `models.ModelNotFound`.
        """
        chosen = policy if isinstance(policy, Policy) else load_policy(policy)
        scorer = Scorer.load(folder, OBJECTIVES)
        return cls(Backbone.load(scorer.backbone, scorer.update), scorer, chosen)

    def under(self, policy: Policy) -> "Safety":
        """The same classifier under another policy. Nothing is loaded but the heads of the policy's own objectives.

        Raises `models.DamagedWeights`, OSError, ValueError: see `own_objective.Head.load`.
        """
        other = copy(self)
        other._obey(policy)
        return other

    def _obey(self, policy: Policy) -> None:
        self._own = [
            Head.load(Path(o.head), o.name, self.scorer.version)
            for o in policy.objectives.values()
            if o.head is not None
        ]
        self._names = (*self.scorer.objectives, *(head.name for head in self._own))
        self.policy = policy

    def scores(self, context: Sequence[Turn], replies: Sequence[str], role: str = "assistant") -> list[Scores]:
        """For each reply, objective -> probability in [0, 1]. `role` says who speaks: "assistant", or "user" for a prompt.

        A long reply is read in windows, disguised text as itself and as what it looks like: for each objective the worst
        reading decides (law 3).
        """
        return self.scores_many([(context, replies, role)])[0]

    def scores_many(self, asked: Sequence[Asked]) -> list[list[Scores]]:
        """The same for the replies to several contexts, in shared forward passes: (context, replies, role) each.

        Whose company a text is read in changes the last digits of its scores at most.
        """
        # A small model says the same thing more than once.
        texts = [list(dict.fromkeys(replies)) for _, replies, _ in asked]
        raw = [(context, own, role) for (context, _, role), own in zip(asked, texts, strict=True)]
        found = [dict(zip(own, read, strict=True)) for own, read in zip(texts, self._read(raw, "raw"), strict=True)]
        again, plain = [], []
        for context, own, role in raw:
            plain_context = [(speaker, undisguised(content, self._words)) for speaker, content in context]
            as_meant = {text: undisguised(text, self._words) for text in own}
            hidden = [text for text in own if as_meant[text] != text or plain_context != list(context)]
            again.append(hidden)
            plain.append((plain_context, [as_meant[text] for text in hidden], role))
        for scores, hidden, read in zip(found, again, self._read(plain, "normalised"), strict=True):
            for text, other in zip(hidden, read, strict=True):
                scores[text] = scores[text].worse(other)
        return [[scores[reply] for reply in replies] for scores, (_, replies, _) in zip(found, asked, strict=True)]

    def states(self, context: Sequence[Turn | Mapping[str, str]], replies: Sequence[str]) -> Features:
        """The hidden states (n, width) of each reply as the assistant's, over its first window: what its scores rest on, for other
        readouts. Those of the replies that were scored last are kept: after `scores` on the same context they cost nothing.
        """
        turns = _turns(context)
        states = self._kept.of(turns, replies)
        missing = [reply for reply in dict.fromkeys(replies) if reply not in states]
        if missing:
            states |= _first(missing, self.backbone.read(turns, missing))
        if not replies:
            return np.empty((0, self.backbone.width), np.float16)
        return np.stack([states[reply] for reply in replies])

    def _read(self, asked: Sequence[Asked], reading: str) -> list[list[Scores]]:
        told = [each for each in asked if each[1]]
        if not told:
            return [[] for _ in asked]
        groups = self.backbone.read_all(told)
        if reading == "raw":
            for windows, (context, texts, role) in zip(groups, told, strict=True):
                if role == "assistant":
                    self._kept.keep(context, _first(texts, windows))
        flat = [window for replies in groups for group in replies for window in group]
        # All windows and all their sentences at once: the readout's weights are what costs, not its rows.
        rows = self._rows(np.concatenate([np.vstack([window.features, window.sentences]) for window in flat]))
        parts = iter(np.split(rows, np.cumsum([1 + len(window.sentences) for window in flat])[:-1]))
        found = iter(
            [
                [
                    self._worst(group, [next(parts) for _ in group], text, reading)
                    for group, text in zip(replies, texts, strict=True)
                ]
                for replies, (_, texts, _) in zip(groups, told, strict=True)
            ]
        )
        return [next(found) if texts else [] for _, texts, _ in asked]

    def _worst(
        self, windows: Sequence[Window], parts: Sequence[NDArray[np.float32]], text: str, reading: str
    ) -> Scores:
        """parts: of each window the scores of the whole of it, then of each of its sentences."""
        rows = np.stack([_of_the_text(part[0], window.among) for window, part in zip(windows, parts, strict=True)])
        # Each objective by its own worst window, so that none hides behind one that scores higher on another; a NaN stays.
        worst = rows.max(axis=0)
        places = {}
        for column, name in enumerate(self._names, 1):
            if np.isfinite(worst[column]):
                at = int(rows[:, column].argmax())
                start, end = _sentence(windows[at], parts[at][1:, column])
                places[name] = Place(text[start:end], start, end, reading)
        scores = dict(zip(self._names, map(float, worst[1:]), strict=True))
        loudest = windows[int(np.nan_to_num(rows[:, 0]).argmax())]
        return Scores(scores, float(worst[0]), places, self.scorer.doubt(loudest.features))

    def _rows(self, features: Features) -> NDArray[np.float32]:
        shipped = self.scorer.scores(features)
        return np.column_stack([shipped, *(head.scores(features) for head in self._own)]) if self._own else shipped

    def judge(
        self, context: Sequence[Turn | Mapping[str, str]], replies: Sequence[str], role: str = "assistant"
    ) -> list[Verdict]:
        """A verdict for each reply to the context, oldest turn first; turns are (role, content) or {"role", "content"}."""
        return [judge(scores, self.policy) for scores in self.scores(_turns(context), replies, role)]

    def explain(
        self,
        context: Sequence[Turn | Mapping[str, str]],
        text: str,
        verdict: Verdict,
        role: str = "assistant",
    ) -> Verdict:
        """The verdict on a text with the deciding sentences told more surely, by reading again: the sentence that is harmful alone
        and without which the rest is not. Costs two readings a sentence, of at most `EXPLAINED` sentences.
        """
        turns = _turns(context)
        places = {r.objective: r.place for r in verdict.reasons if r.place}
        for reading in sorted({place.reading for place in places.values()}):
            raw = reading == "raw"
            whole = text if raw else undisguised(text, self._words)
            before = turns if raw else [(speaker, undisguised(said, self._words)) for speaker, said in turns]
            here = [name for name, place in places.items() if place.reading == reading]
            middle = min(places[name].start for name in here)
            spans = sorted(sorted(sentences(whole), key=lambda span: abs(span[0] - middle))[:EXPLAINED])
            if len(spans) > 1:
                weights = self._weights(before, whole, spans, role)
                for name in here:
                    start, end = spans[int(weights[:, 1 + self._names.index(name)].argmax())]
                    places[name] = Place(whole[start:end], start, end, reading)
        reasons = tuple(replace(r, place=places.get(r.objective, r.place)) for r in verdict.reasons)
        return replace(verdict, reasons=reasons)

    def _weights(self, context: Sequence[Turn], text: str, spans: Sequence[Span], role: str) -> NDArray[np.float32]:
        """(sentences, 1 + objectives): the logit of each sentence alone less that of the text without it."""
        alone = [text[start:end] for start, end in spans]
        rest = [text[:start] + text[end:] for start, end in spans]
        windows = self.backbone.read(context, alone + rest, role)
        rows = self._rows(np.stack([found[0].features for found in windows]))
        logits = np.log(np.nan_to_num(rows).clip(1e-6, 1 - 1e-6) / (1 - np.nan_to_num(rows).clip(1e-6, 1 - 1e-6)))
        weights: NDArray[np.float32] = logits[: len(spans)] - logits[len(spans) :]
        return weights


def _of_the_text(scores: NDArray[np.float32], among: int) -> NDArray[np.float32]:
    """What one of so many passages says of the whole text, by Bayes' rule. The classifier knows how often a text is unsafe; the
    one harmful passage of such a text could be any, so that each alone has that much lower odds to begin with. Without this a
    harmless text is dropped for being long. 0, 1 and NaN stay what they are; what is no probability does not become one.
    """
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        found: NDArray[np.float32] = scores / (scores + (1 - scores) * among)
        found[~((scores >= 0) & (scores <= 1))] = np.nan  # a huge one would come out as 0
    return found


def _first(texts: Sequence[str], windows: Sequence[Sequence[Window]]) -> dict[str, Features]:
    return {text: group[0].features for text, group in zip(texts, windows, strict=True)}


def _turns(context: Sequence[Turn | Mapping[str, str]]) -> list[Turn]:
    return [(t["role"], t["content"]) if isinstance(t, Mapping) else t for t in context]


def _sentence(window: Window, scores: NDArray[np.float32]) -> tuple[int, int]:
    return window.spans[int(np.nan_to_num(scores).argmax())] if window.spans else window.span
