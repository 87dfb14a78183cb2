"""A reply sentence by sentence: each leaves when the text so far, as the client will see it, has passed the screen (law 1).

Knows which text was sent. Does not know how it travels (`send`).

A text so far that does not pass is held, and leaves with a longer one that does; the whole reply has passed, or it is no reply.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from retrieval.sentences import sentences
from service.batching import followed
from service.chat import Corridor, Wants
from service.decisions import Decision
from service.faults import describe
from service.generator import Message
from service.ticket import GivenUp

log = logging.getLogger(__name__)

Tell = Callable[[str], None]
Send = Callable[[int, str, bool], None]
"""send(choice, text, first): the next piece of a reply; `first` of this choice."""
Passes = Callable[[str], bool]
Kept = Callable[[Decision], Decision]
"""Puts a decision on record: what it returns is sent. What it raises holds back whatever has not left yet."""


class Withdrawn(RuntimeError):
    """The rest of a reply did not pass after its beginning had been sent."""


def by_sentence(
    corridor: Corridor, messages: Sequence[Message], wants: Wants, tell: Tell, send: Send, kept: Kept, early: bool
) -> tuple[Decision, list[str]]:
    """The corridor's decision, and the text of each choice that was sent by then; the rest of it may be sent too.

    `early`: whether a sentence may leave before the decision is on record (`kept`). Then a single candidate that nothing else could
    replace leaves while it is written, where the generator tells; of several, one must be picked first. Raises `Withdrawn`, and as
    `Corridor.reply` and `kept`.
    """
    corridor = corridor.tightened(wants.policy)
    out = Sentences(lambda text: not corridor.judge(messages, [text])[0].dropped, send, wants.choices)
    if early and wants.one_candidate_is_the_reply:
        decision = kept(_while_written(corridor, messages, wants, tell, out))
    else:
        decision = kept(corridor.reply(messages, wants, tell))
    for choice, reply in enumerate(decision.replies):
        if reply.verdict is not None:  # else it is the policy's own text, which leaves as a whole
            out.offer(choice, reply.text)
    out.check([reply.text for reply in decision.replies])
    return decision, out.sent


def _while_written(
    corridor: Corridor, messages: Sequence[Message], wants: Wants, tell: Tell, out: "Sentences"
) -> Decision:
    try:
        with out.following(wants.sampling.stop) as on_text:
            following = replace(corridor, generator=followed(corridor.generator, on_text))
            return following.reply(messages, wants, tell)
    except BaseException:
        if any(out.sent):
            log.warning(
                "a reply was given up when %d characters of it had left: no decision tells of them", len(out.sent[0])
            )
        raise


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
                self._send(choice, text[len(self.sent[choice]) : end], not self.sent[choice])
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
