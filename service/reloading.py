"""The corridor in service now: before a request its index's folder is looked at, and a new index there takes the old one's place.

Knows when to look and what to do with an index that cannot be read. Does not know requests.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from retrieval import DamagedIndex, Index, Retrieval
from retrieval.storage import current, stamp
from service.chat import Corridor

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Between two looks at the folder."""
RETRY_SECONDS = 30.0
"""Before an index that could not be read is tried again: files may still be on their way."""


class Live:
    """Hands out the corridor. Each one handed out is a snapshot: its index stays as it is, whatever happens to the folder."""

    def __init__(self, corridor: Corridor, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` in seconds. A corridor whose settings name no index is never changed."""
        self._corridor, self._clock = corridor, clock
        self._lock = threading.Lock()
        self._next_look = clock()
        self._seen: tuple[int, int, int] | None = None
        self.warning: str | None = None
        """Why the folder's index could not be taken, while the one before it serves on."""

    def current(self) -> Corridor:
        """The corridor with the folder's newest readable index. Never raises; takes as long as loading an index where there is a
        new one, so it does not belong on an event loop.
        """
        if self._corridor.settings.index is not None:
            with self._lock:
                if self._clock() >= self._next_look:
                    self._look()
                    self._next_look = self._clock() + (RETRY_SECONDS if self.warning else LOOK_SECONDS)
        return self._corridor

    def _look(self) -> None:
        folder = self._corridor.settings.index
        assert folder is not None
        # Before the loading: what changes meanwhile is seen at the next look.
        found = stamp(folder)
        if found is not None and found == self._seen:
            return
        try:
            if current(folder).name != self._corridor.index.generation:
                index = Index.load(folder)
                toolset = replace(self._corridor.toolset, retrieval=Retrieval(index))
                self._corridor = replace(self._corridor, index=index, toolset=toolset)
                log.warning("index reloaded: %s, %d passages", folder, len(self._corridor.index))
        except (DamagedIndex, OSError) as error:
            if str(error) != self.warning:
                log.warning("the index in service stays, the new one cannot be read: %s", error)
            self.warning = str(error)
        else:
            self._seen, self.warning = found, None
