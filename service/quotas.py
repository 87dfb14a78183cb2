"""How much each key has asked for of late: requests a minute, tokens a day.

Knows counts and seconds of a clock that only runs forward: an hour set on the wall locks nobody out and lets nobody off. Kept in
memory: a restart forgets it. For one event loop; no locks.
"""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from service.decisions import Decision
from service.keys import Key

MINUTE, DAY = 60.0, 86_400.0

SLOTS = 1000
"""What is spent within a thousandth of a window is forgotten together, so that its memory is bounded."""

LONGEST_RETRY = 60.0
"""Seconds beyond which a client had better tell its user than wait."""


class Window:
    """What was spent within the last `seconds`, up to a thousandth of it more: never less."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds, self._clock = seconds, clock
        self._slots: deque[tuple[float, int]] = deque()  # (end, spent), oldest first; forgotten at the end
        self._spent = 0

    @property
    def spent(self) -> int:
        """Units within the window."""
        now = self._clock()
        while self._slots and self._slots[0][0] <= now:
            self._spent -= self._slots.popleft()[1]
        return self._spent

    def spend(self, amount: int) -> None:
        """`amount` of at least 0 units, now."""
        spent = self.spent  # forgets what is over
        end = self._clock() + self._seconds
        if self._slots and end <= self._slots[-1][0]:
            self._slots[-1] = (self._slots[-1][0], self._slots[-1][1] + amount)
        else:
            self._slots.append((end + self._seconds / SLOTS, amount))
        self._spent = spent + amount

    def wait(self, limit: int) -> float:
        """Seconds until less than `limit` (at least 1) is spent; 0 where that is so now."""
        left, until = self.spent, 0.0
        for end, amount in self._slots:
            if left < limit:
                break
            left, until = left - amount, end
        return max(until - self._clock(), 0.0)

    def empty_in(self) -> float:
        """Seconds until nothing is spent, if nothing more is."""
        return max(self._slots[-1][0] - self._clock(), 0.0) if self.spent else 0.0


@dataclass(frozen=True)
class Exhausted:
    """What has run out: "requests" or "tokens". `wait`: seconds until the next request is answered."""

    what: str
    limit: int
    wait: float

    @property
    def message(self) -> str:
        per = {"requests": "requests a minute", "tokens": "tokens a day"}[self.what]
        return f"this key may use {self.limit} {per}, which are used up; try again in {duration(self.wait)}"

    @property
    def headers(self) -> dict[str, str]:
        """For clients: when to try again, and that there is no point in doing so by themselves where it takes long."""
        late = {"x-should-retry": "false"} if self.wait > LONGEST_RETRY else {}
        return {"retry-after": str(max(math.ceil(self.wait), 1)), **late}


class Quota:
    """What one key has used. The limits may change from one request to the next."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._windows = {"requests": Window(MINUTE, clock), "tokens": Window(DAY, clock)}

    def take(self, key: Key) -> Exhausted | None:
        """Counts one request; None where there is room for it, and otherwise what there is none of, counting nothing.

        How many tokens a request will cost is not known before it is answered: those that began within the budget are finished, and
        what they cost beyond it is paid off before the next begins.
        """
        for what, limit in _limits(key).items():
            wait = self._windows[what].wait(limit)
            if wait > 0:
                return Exhausted(what, limit, wait)
        self._windows["requests"].spend(1)
        return None

    def spend(self, tokens: int) -> None:
        self._windows["tokens"].spend(tokens)

    def headers(self, key: Key) -> dict[str, str]:
        """Limit, what remains, and in how long all of it is there again, as OpenAI's clients read them."""
        found = {}
        for what, limit in _limits(key).items():
            window = self._windows[what]
            found[f"x-ratelimit-limit-{what}"] = str(limit)
            found[f"x-ratelimit-remaining-{what}"] = str(max(limit - window.spent, 0))
            found[f"x-ratelimit-reset-{what}"] = duration(window.empty_in())
        return found


class Quotas:
    """A `Quota` for each key, by its hash: a key made anew under an old name begins anew."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` in seconds, never going back."""
        self._clock = clock
        self._by_hash: dict[str, Quota] = {}

    def of(self, key: Key) -> Quota:
        return self._by_hash.setdefault(key.sha256, Quota(self._clock))


def cost(decision: Decision) -> int:
    """Tokens that a reply cost: those of the prompt, and of every candidate that was written for it, dropped ones too."""
    return decision.prompt_tokens + sum(judged.candidate.tokens for judged in decision.judged)


def duration(seconds: float) -> str:
    """Seconds in the form of the rate-limit headers: 6m0s, 12s, 250ms; rounded up."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    whole = math.ceil(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if whole >= 60 else "") + f"{rest}s"


def _limits(key: Key) -> dict[str, int]:
    limits = {"requests": key.requests_per_minute, "tokens": key.tokens_per_day}
    return {what: limit for what, limit in limits.items() if limit is not None}
