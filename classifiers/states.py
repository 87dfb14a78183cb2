"""The hidden states of replies as they were read last, for other readouts than the one that they were read for.

Knows contexts, replies and how many are kept. Does not know what is read from states.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from classifiers.backbone import Features
from classifiers.labelled import Turn

MOST_KEPT = 1024
"""Replies: of the default reader 14 kB each, and as many as 32 requests of 16 candidates sample in two attempts."""


class States:
    """States (width,) by context and reply; of too many those that were kept first are let go. Safe to share between threads."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._rows: OrderedDict[tuple[tuple[Turn, ...], str], Features] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, context: Sequence[Turn], states: Mapping[str, Features]) -> None:
        """Of each reply to the context its states, in place of those from before."""
        turns = _key(context)
        with self._lock:
            for reply, row in states.items():
                self._rows[turns, reply] = np.array(row)  # a copy: the whole reading is not kept alive for it
                self._rows.move_to_end((turns, reply))
            while len(self._rows) > self._most:
                self._rows.popitem(last=False)

    def of(self, context: Sequence[Turn], replies: Iterable[str]) -> dict[str, Features]:
        """Reply -> states, of those that are kept."""
        turns = _key(context)
        with self._lock:
            return {reply: self._rows[turns, reply] for reply in replies if (turns, reply) in self._rows}


def _key(context: Sequence[Turn]) -> tuple[Turn, ...]:
    return tuple((speaker, content) for speaker, content in context)
