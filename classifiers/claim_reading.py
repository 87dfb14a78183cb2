"""How a claim is read against a passage: the words around it, what of a long passage is shown, and the states that come out.

Knows the prompt and the backbone. Does not know labels or probabilities.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from classifiers.backbone import Backbone
from classifiers.sentences import sentences

READ_LAYER = 25
PASSAGE_TOKENS = 200
BEFORE_TOKENS = 60
CLAIM_TOKENS = 120

_CONTENT = re.compile(r"[^\W_]+")
_STOP = """
a an and are as at be been but by did do does for from had has have he her his i in into is it its not of on or she so that the
their them then there they this to was we were what when where which who will with you your
"""
_STOP_WORDS = frozenset(_STOP.split())

Claimed = tuple[str, str, str]
"""(passage, the turn before or "", claim)"""


class ClaimReader:
    """The backbone as it reads claims. Its states go through a head that was taught with its update."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone

    def tokens(self, claimed: Claimed) -> tuple[list[int], int, int]:
        """All tokens of a claim as it is read, and where its own start and end."""
        passage, before, claim = claimed
        prefix = self._prefix(self.shown(passage, f"{before} {claim}"))
        lead, words = self._claim(before, claim)
        start = len(prefix) + len(lead)
        return prefix + lead + words + self._suffix(), start, start + len(words)

    def read(self, claims: Sequence[Claimed]) -> NDArray[np.float16]:
        """The states of many claims, (n, width): mean over the claim's tokens and the state behind it. A passage that several are
        held against is read once for them."""
        return self.backbone.read_tokens([self.tokens(claim) for claim in claims])

    def shown(self, passage: str, about: str) -> str:
        """The passage; of one that is too long, the sentences that share the most words with `about`, in their order."""
        if len(self.backbone.words(passage)) <= PASSAGE_TOKENS:
            return passage
        spans = sentences(passage)
        wanted = content(about)
        overlap = [len(wanted & content(passage[start:end])) for start, end in spans]
        chosen: list[int] = []
        room = PASSAGE_TOKENS
        for i in sorted(range(len(spans)), key=lambda i: (-overlap[i], i)):
            need = len(self.backbone.words(passage[slice(*spans[i])]))
            if need <= room:
                chosen.append(i)
                room -= need
        if not chosen:  # one sentence without end
            start, end = spans[max(range(len(spans)), key=lambda i: overlap[i])] if spans else (0, len(passage))
            offsets = self.backbone.offsets(passage[start:end])[:PASSAGE_TOKENS]
            return passage[start : start + offsets[-1][1]]
        return " ".join(passage[slice(*spans[i])] for i in sorted(chosen))

    def _prefix(self, shown: str) -> list[int]:
        return [
            *self.backbone.markup("<|im_start|>user\nText: "),
            *self.backbone.words(shown),
            *self.backbone.markup("\n"),
        ]

    def _claim(self, before: str, claim: str) -> tuple[list[int], list[int]]:
        lead = self.backbone.markup("Claim: ")
        if before.strip():
            asked = self.backbone.words(before.strip())[-BEFORE_TOKENS:]
            lead = [*self.backbone.markup("Asked: "), *asked, *self.backbone.markup("\n"), *lead]
        return lead, self.backbone.words(claim)[:CLAIM_TOKENS] or self.backbone.markup("\n")

    def _suffix(self) -> list[int]:
        return self.backbone.markup("\nDoes the text say that?<|im_end|>\n<|im_start|>assistant\n")


def content(text: str) -> frozenset[str]:
    """The content words of a text, lower-cased, by their first six letters."""
    return frozenset(word[:6] for word in _CONTENT.findall(text.lower()) if word not in _STOP_WORDS)
