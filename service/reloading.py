"""The corridor in service now: before a request its index's folder and its policy's file are looked at, and what is new there takes
the old one's place.

Knows when to look and what to do with what cannot be read. Does not know requests.
"""

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from classifiers import Policy, Safety, load_policy
from classifiers.policy import PRESETS
from retrieval import Index, Retrieval
from retrieval.storage import current, stamp
from service.chat import Corridor

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Between two looks at the disk."""
RETRY_SECONDS = 30.0
"""Before what could not be read is tried again: files may still be on their way."""

Stamp = tuple[int, int, int]


class Live:
    """Hands out the corridor. Each one handed out is a snapshot: its index and policy stay, whatever happens on the disk."""

    def __init__(self, corridor: Corridor, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` in seconds. A corridor whose settings name no index and no policy file is never changed."""
        settings = corridor.settings
        self._corridor, self._lock = corridor, threading.Lock()
        self._index = _IndexFolder(settings.index, clock) if settings.index is not None else None
        self._policy = _PolicyFile(Path(settings.policy), clock) if settings.policy not in PRESETS else None
        self._watched = [each for each in (self._index, self._policy) if each is not None]

    @property
    def index_warning(self) -> str | None:
        """Why the folder's index could not be taken, while the one before it serves on."""
        return self._index.warning if self._index else None

    @property
    def warnings(self) -> list[str]:
        """What could not be taken, and why, while what was before it serves on."""
        return [f"{each.stays}: {each.warning}" for each in self._watched if each.warning]

    def current(self) -> Corridor:
        """The corridor with the newest index and policy that can be read. Never raises; takes as long as loading them where they are
        new, so it does not belong on an event loop.
        """
        if self._watched:
            with self._lock:
                for each in self._watched:
                    self._corridor = each.current(self._corridor)
        return self._corridor


class _Watched(ABC):
    """A place on the disk that a part of the corridor is read from. `warning`: why what is there now could not be taken."""

    stays: str

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self.path, self._clock = path, clock
        self._next_look = clock()
        self.warning: str | None = None

    def current(self, corridor: Corridor) -> Corridor:
        """The corridor with what is there now, where that is new and can be read; never raises."""
        if self._clock() < self._next_look:
            return corridor
        pause = LOOK_SECONDS
        try:
            corridor = self.look(corridor)
        except Exception as error:
            if str(error) != self.warning:
                log.warning("%s: %s", self.stays, error)
            self.warning, pause = str(error), RETRY_SECONDS
        self._next_look = self._clock() + pause
        return corridor

    @abstractmethod
    def look(self, corridor: Corridor) -> Corridor:
        """May raise anything: then nothing is changed."""


class _IndexFolder(_Watched):
    stays = "the index in service stays, the new one cannot be read"
    _seen: Stamp | None = None

    def look(self, corridor: Corridor) -> Corridor:
        # Before the loading: what changes meanwhile is seen at the next look.
        found = stamp(self.path)
        if found is None or found != self._seen:
            if current(self.path).name != corridor.index.generation:
                index = Index.load(self.path)
                toolset = replace(corridor.toolset, retrieval=Retrieval(index))
                corridor = replace(corridor, index=index, toolset=toolset)
                log.warning("index reloaded: %s, %d passages", self.path, len(index))
            self._seen, self.warning = found, None
        return corridor


class _PolicyFile(_Watched):
    """A file in which somebody may be writing: half of a policy can be one, with fewer rules, so that only a file which was the same at
    two looks is read.
    """

    stays = "the policy in service stays, the new one cannot be used"
    _seen: Stamp | None = None
    _taken: Stamp | None = None

    def look(self, corridor: Corridor) -> Corridor:
        found = self._stamp()
        if found == self._taken:
            self.warning = None
        elif found != self._seen:
            self._seen = found
        else:
            policy = load_policy(self.path)
            if self._stamp() == found:
                if policy != corridor.policy:
                    corridor = _under(policy, corridor)
                    log.warning("policy reloaded: %s, %s", self.path, policy.fingerprint)
                self._taken, self.warning = found, None
        return corridor

    def _stamp(self) -> Stamp:
        found = self.path.stat()
        return found.st_ino, found.st_mtime_ns, found.st_size


def _under(policy: Policy, corridor: Corridor) -> Corridor:
    safety = corridor.safety
    if isinstance(safety, Safety):
        safety = safety.under(policy)
    elif policy.heads:
        raise ValueError(f"{policy.heads[0]} is a head for the shipped classifier, and another one judges here")
    others = [folder for folder in corridor.weights if folder not in corridor.policy.heads]
    return replace(corridor, policy=policy, safety=safety, weights=(*others, *policy.heads))
