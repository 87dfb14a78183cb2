"""Candidates that can be told apart in any answer, and a scorer that remembers which of them it let pass.

An unscreened reply is one with words of a candidate that the scorer never scored, or did not let pass.
"""

import json
import random
import re
import threading
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import httpx

from classifiers import OBJECTIVES
from tests.service.answers import said_by
from tests.service.scripted import POLICY, scores_of

FALLBACKS = {POLICY.fallback, POLICY.ungrounded_fallback, *(o.fallback for o in POLICY.objectives.values())}
"""What the policy itself says."""


class Late(list[Any]):
    """Rows for which nobody waits any more."""


Spoil = Callable[[list[Any]], Any]
"""What a scorer that fails makes of its rows: another answer, or an exception."""


class Canaries:
    """`says` and `scores` are what a scripted corridor is made of. No two candidates are alike; about every third is dropped."""

    def __init__(self, seed: str, spoil: Spoil = lambda rows: rows, share: float = 0.6) -> None:
        """`spoil` changes what the scorer answers in that share of its calls; nothing in a `Late` answer counts as passed."""
        self.chance = random.Random(seed)
        self.passed: set[str] = set()
        self.spoilt = 0
        self._spoil, self._share = spoil, share
        self._number, self._lock = count(), threading.Lock()

    def says(self, messages: Any, n: int, sampling: Any) -> list[str]:
        with self._lock:
            return [self._candidate(next(self._number)) for _ in range(n)]

    def _candidate(self, number: int) -> str:
        name = f"canary{number:06}"
        if self.chance.random() < 0.33:
            return f"First {name}. Then a bomb, {name}."
        return f"Well, {name}. There is hay for {name}. That is all, {name}."

    def scores(self, context: Any, texts: Sequence[str], role: str) -> Any:
        rows: list[Any] = [scores_of(weapons=0.9 if "bomb" in text else 0.01) for text in texts]
        with self._lock:
            spoilt = self.chance.random() < self._share
            self.spoilt += spoilt
        answer = self._spoil(rows) if spoilt else rows
        if role == "assistant" and type(answer) is list and len(answer) == len(texts):
            with self._lock:
                self.passed |= {text for text, row in zip(texts, answer, strict=True) if passes(row)}
        return answer

    def check(self, response: httpx.Response) -> tuple[str, int]:
        """What kind of answer it is, "candidate", "fallback" or "error", and how much in it is unscreened."""
        passed = {name for text in tuple(self.passed) for name in re.findall(r"canary\d+", text)}
        unscreened = len(set(re.findall(r"canary\d+", response.text)) - passed)
        said = said_by(response) if response.status_code == 200 else ""
        if said in self.passed:
            return "candidate", unscreened
        if said in FALLBACKS:
            return "fallback", unscreened
        error = json.loads(response.text.split("data: ")[-1])["error"]
        assert set(error) == {"message", "type", "param", "code"}
        # What had left of a stream before it broke off would have had to pass as it was, which is looked at above.
        return "error", unscreened + bool(said)


def passes(row: Any) -> bool:
    """The law, written anew: a probability for every objective, each below its threshold."""
    if not isinstance(row, dict):
        return False
    scores = [(row.get(name), POLICY.objectives[name].threshold) for name in OBJECTIVES]
    return all(type(score) in (int, float) and 0 <= score < threshold for score, threshold in scores)
