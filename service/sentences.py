"""A reply sentence by sentence: each leaves when the text so far, as the client will see it, has passed the screen (law 1).

Knows which text was sent. Does not know how it is judged (`passes`) nor how it travels (`send`).

A text so far that does not pass is held, and leaves with a longer one that does; the whole reply has passed, or it is no reply.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from retrieval.sentences import sentences
from service.faults import describe
from service.ticket import GivenUp

log = logging.getLogger(__name__)

Passes = Callable[[str], bool]
Send = Callable[[int, str], None]
"""send(choice, text): the next piece of a reply."""


class Withdrawn(RuntimeError):
    """The rest of a reply did not pass after its beginning had been sent."""


class Sentences:
    """The replies of one request on their way out. `sent`: the text of each choice that has left."""

    def __init__(self, passes: Passes, send: Send, choices: int) -> None:
        self.sent = [""] * choices
        self._passes, self._send = passes, send

    def offer(self, choice: int, text: str) -> None:
        """Send what of the text may leave now, the last sentence excepted: it may grow."""
        before = self.sent[choice]
        if not text.startswith(before):
            return  # another attempt; what was sent of the first cannot be taken back
        for _, end in sentences(text)[:-1]:
            if end > len(self.sent[choice]) and self._passes(text[:end]):
                self._send(choice, text[len(self.sent[choice]) : end])
                self.sent[choice] = text[:end]

    def check(self, texts: Sequence[str]) -> None:
        """Raises `Withdrawn` unless what was sent is the beginning of what was decided."""
        for text, sent in zip(texts, self.sent, strict=True):
            if not text.startswith(sent):
                raise Withdrawn("the rest of the reply did not pass the screen and was held back")

    @contextmanager
    def following(self, stop: Sequence[str]) -> Iterator[Callable[[str], None]]:
        """A function that is told the text of the one candidate so far, from any thread and at once; sentences leave meanwhile.

        What may turn out to be the beginning of a stop string is not looked at.
        """
        texts: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        held = max(map(len, stop), default=0)

        def follow() -> None:
            try:
                while (text := texts.get()) is not None:
                    if texts.empty():
                        self.offer(0, text[: len(text) - held].lstrip())
            except GivenUp:
                pass
            except Exception as error:  # nothing more leaves early
                log.error("following a reply failed with %s", describe(error))

        thread = threading.Thread(target=follow, daemon=True, name="winnow-sentences")
        thread.start()
        try:
            yield texts.put
        finally:
            texts.put(None)
            thread.join()
