"""Screening that fails closed: whatever goes wrong in judging, the verdict is `unscored` and the text is dropped (law 1).

Knows time limits and faults. Does not know how scores are made.
"""

import logging
import queue
import threading
from collections.abc import Sequence
from dataclasses import replace

from classifiers import Policy, SafetyScorer, Verdict, judge, unscored
from classifiers.labelled import Turn
from service.faults import describe
from service.request_id import carried
from service.ticket import GivenUp

MAX_HUNG = 4
"""Judging threads that may hang at once; a thread cannot be killed, so past this nothing new is started."""

_hanging: set[threading.Thread] = set()
"""Judging threads that nobody waits for any more."""
log = logging.getLogger(__name__)


def screen(
    scorer: SafetyScorer,
    policy: Policy,
    context: Sequence[Turn],
    texts: Sequence[str],
    seconds: float,
    role: str = "assistant",
) -> list[Verdict]:
    """One verdict a text. Never raises: an exception, a time-out, or an answer with too few rows makes every text `unscored`."""
    if not texts:
        return []
    scored = _scored(scorer, context, texts, seconds, role)
    if not isinstance(scored, list) or len(scored) != len(texts):
        if scored is not None:
            log.error("the scorer answered with %s instead of %d rows", type(scored).__name__, len(texts))
        return [unscored() for _ in texts]
    return [judge(scores, policy) for scores in scored]


def explain(scorer: SafetyScorer, context: Sequence[Turn], text: str, verdict: Verdict, role: str) -> Verdict:
    """The verdict with its reasons looked into, where the scorer can do that; as it is where it cannot or fails. Never raises."""
    look = getattr(scorer, "explain", None)
    if look is None:
        return verdict
    try:
        found: Verdict = look(context, text, verdict, role)
    except Exception as error:
        log.error("explaining failed with %s", describe(error))
        return verdict
    return replace(verdict, reasons=found.reasons)


def _scored(
    scorer: SafetyScorer, context: Sequence[Turn], texts: Sequence[str], seconds: float, role: str
) -> object | None:
    for ended in [thread for thread in tuple(_hanging) if not thread.is_alive()]:
        _hanging.discard(ended)
    if len(_hanging) >= MAX_HUNG:
        log.error("%d judging threads hang; nothing more is judged", MAX_HUNG)
        return None
    answer: queue.SimpleQueue[object | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            answer.put(scorer.scores(context, texts, role))
        except GivenUp:
            answer.put(None)
        except BaseException as error:  # a panic in a tokenizer's Rust is no Exception
            log.error("judging failed with %s", describe(error))
            answer.put(None)
        finally:
            _hanging.discard(threading.current_thread())

    thread = threading.Thread(target=carried(work), daemon=True, name="winnow-judge")
    try:
        thread.start()
    except RuntimeError:
        log.error("no thread could be started to judge in")
        return None
    try:
        return answer.get(timeout=seconds)
    except queue.Empty:
        log.error("judging took longer than %s s", seconds)
        _hanging.add(thread)
        return None
