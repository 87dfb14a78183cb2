"""The decision log: every reply's record in SQLite, written by one thread; with `durable`, on the disk before the reply leaves.

Knows the queue, commits and failures. Does not know tables (`log_file.py`) nor what is kept of a decision (`records.py`).
"""

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classifiers import OBJECTIVES
from service import log_file
from service.chat import Wants
from service.decisions import Decision
from service.faults import describe
from service.generator import Message
from service.labels import INTERESTING, SENSIBLE, SPECIFIC, SUPPORTED
from service.log_file import Label, LogUnreadable
from service.records import record_of
from service.settings import Settings

REASONS = (*OBJECTIVES, SENSIBLE, SPECIFIC, INTERESTING, SUPPORTED)
"""What a label can name: an objective that the reply violates, or a quality of LaMDA's that it lacks."""

MOST_WAITING = 1000
"""Records that may wait to be written."""
MOST_TOGETHER = 200
"""Records in one transaction."""
GATHER_SECONDS = 0.2
"""How long the first record of a transaction waits for others where nobody waits for it."""
WAIT_SECONDS = 30.0
"""How long a reply waits for its record: a disk that hangs holds nothing up for good."""
PURGE_SECONDS = 3600.0
PURGED_TOGETHER = 500
DAY = 86_400

log = logging.getLogger(__name__)


class LogFailed(RuntimeError):
    """A record could not be written; the message says why."""


@dataclass(frozen=True)
class _Job:
    """`expected`: what the work may raise that is its caller's fault, and told to them as it is."""

    work: Callable[[sqlite3.Connection], None]
    done: "Future[None]"
    expected: tuple[type[Exception], ...] = ()


class DecisionLog:
    """A log that is being written. Safe to use from several threads. `kept` and `lost`: how many records were and were not written;
    `error`: why not, until it goes well again.
    """

    def __init__(
        self,
        path: Path,
        durable: bool = False,
        retain_texts: bool = False,
        retention_days: float | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` in seconds since 1970. Raises `LogUnreadable` where the file cannot be used, OSError where it cannot be made."""
        self.path, self.durable, self.retain_texts = path, durable, retain_texts
        self.kept = self.lost = 0
        self.error: str | None = None
        self._retention_days, self._clock, self._monotonic = retention_days, clock, monotonic
        # What is old is counted on from the start: a clock that jumps while the server runs removes nothing.
        self._started = clock(), monotonic()
        self._next_purge = monotonic()
        self._jobs: queue.Queue[_Job | None] = queue.Queue(MOST_WAITING)
        self._closed = False
        self._lock, self._counting = threading.Lock(), threading.Lock()
        try:
            self._base: sqlite3.Connection | None = log_file.open_for_writing(path, durable)
        except sqlite3.Error as error:
            raise LogUnreadable(f"the decision log {path} cannot be written: {error}") from error
        self._file = _file(path)
        self._thread = threading.Thread(target=self._run, daemon=True, name="winnow-decision-log")
        self._thread.start()

    @classmethod
    def of(cls, settings: Settings) -> "DecisionLog | None":
        """The log of the settings; None where they name none. Raises as the constructor does."""
        if settings.decision_log is None:
            return None
        return cls(settings.decision_log, settings.durable, settings.retain_texts, settings.retention_days or None)

    def keep(self, decision: Decision, messages: Sequence[Message], wants: Wants) -> None:
        """Log a decision. Where the log is durable this returns once the disk has it, and raises `LogFailed` where that fails: then the
        reply must not leave. Else it returns at once, and a failure is counted and told in the server's log.
        """
        written = self.put(decision, messages, wants)
        if self.durable:
            try:
                written.result(WAIT_SECONDS)
            except TimeoutError as error:
                raise _silent() from error

    def put(self, decision: Decision, messages: Sequence[Message], wants: Wants) -> "Future[None]":
        """Log a decision; the future is done once it is committed, and raises `LogFailed` where it could not be."""
        turns = [dict(message) for message in messages]

        def work(base: sqlite3.Connection) -> None:
            log_file.insert(base, record_of(decision, turns, wants, self.retain_texts))

        return self._submit(work)

    async def label(self, decision: str, choice: int, reasons: Sequence[str]) -> None:
        """Keep what a person said of a reply: which of `REASONS`; none takes back what was said before.

        Raises LookupError where there is no such decision, ValueError where it has no such choice or a reason is not known, and
        `LogFailed`.
        """
        for name in reasons:
            if name not in REASONS:
                raise ValueError(f"unknown reason {name!r}; known: {', '.join(REASONS)}")
        label = Label(decision, choice, tuple(dict.fromkeys(reasons)), int(self._clock()))
        await _written(self._submit(lambda base: log_file.insert_label(base, label), (LookupError, ValueError)))

    def state(self) -> dict[str, Any]:
        """What an operator asks after: whether durable, how many records were written, lost and wait, and the error there is."""
        counts = {"kept": self.kept, "lost": self.lost, "waiting": self._jobs.qsize()}
        return {"durable": self.durable, **counts, **({"error": self.error} if self.error else {})}

    def close(self) -> None:
        """Write what waits, then let go of the file."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._jobs.put(None)
        self._thread.join()

    def _submit(
        self, work: Callable[[sqlite3.Connection], None], expected: tuple[type[Exception], ...] = ()
    ) -> "Future[None]":
        job = _Job(work, Future(), expected)
        job.done.set_running_or_notify_cancel()  # a caller who goes away does not take the record along
        with self._lock:  # nothing comes after the end mark
            try:
                if self._closed:
                    raise LogFailed("the decision log is closed")
                self._jobs.put_nowait(job)
            except (queue.Full, LogFailed) as error:
                full = f"{MOST_WAITING} records already wait for the decision log"
                self._fail([job], full if isinstance(error, queue.Full) else str(error))
        return job.done

    def _run(self) -> None:
        ended = False
        while not ended:
            jobs, ended = self._gather()
            if jobs:
                self._commit(jobs)
            if not ended:
                self._purge()
        if self._base is not None:
            self._base.close()

    def _gather(self) -> tuple[list[_Job], bool]:
        """The jobs of the next transaction, none where it is time to purge; and whether they are the last."""
        jobs: list[_Job] = []
        wait = max(0.0, self._next_purge - self._monotonic())
        until = 0.0
        while len(jobs) < MOST_TOGETHER:
            try:
                # Who waits for the disk does not wait for company: what has come in during one commit shares the next.
                job = self._jobs.get(timeout=wait) if wait > 0 else self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                return jobs, True
            if not jobs:
                until = self._monotonic() + (0.0 if self.durable else GATHER_SECONDS)
            jobs.append(job)
            wait = until - self._monotonic()
        return jobs, False

    def _commit(self, jobs: list[_Job]) -> None:
        refused: dict[int, Exception] = {}
        try:
            base = self._connection()
            base.execute("BEGIN IMMEDIATE")
            for number, job in enumerate(jobs):
                base.execute("SAVEPOINT job")
                try:
                    job.work(base)
                except Exception as error:
                    if isinstance(error, sqlite3.Error | OSError) and not isinstance(error, sqlite3.IntegrityError):
                        raise  # the disk's fault, not this record's
                    base.execute("ROLLBACK TO job")
                    refused[number] = error
                base.execute("RELEASE job")
            base.execute("COMMIT")
        except Exception as error:
            self._let_go()
            self._fail(jobs, _reason(error))
            return
        done = [job for number, job in enumerate(jobs) if number not in refused]
        self.kept += len(done)
        if done and self.error:
            log.warning("the decision log is written again; %d records were lost", self.lost)
            self.error = None
        for job in done:
            job.done.set_result(None)
        for number, fault in refused.items():
            if isinstance(fault, jobs[number].expected):
                jobs[number].done.set_exception(fault)
            else:
                self._fail([jobs[number]], _reason(fault))

    def _connection(self) -> sqlite3.Connection:
        """The open log; opened anew where it was let go, or where its file was moved or removed: else records would go nowhere."""
        if self._base is not None and self._file != _file(self.path):
            self._let_go()
        if self._base is None:
            self._base = log_file.open_for_writing(self.path, self.durable)
            self._file = _file(self.path)
        return self._base

    def _let_go(self) -> None:
        base, self._base = self._base, None
        if base is not None:
            try:
                base.close()  # which rolls back
            except sqlite3.Error as error:
                log.error("closing the decision log failed with %s", describe(error))

    def _fail(self, jobs: Sequence[_Job], reason: str) -> None:
        with self._counting:
            self.lost += len(jobs)
            if reason != self.error:
                log.error("the decision log %s cannot be written: %s", self.path, reason)
            self.error = reason
        for job in jobs:
            job.done.set_exception(LogFailed(reason))

    def _purge(self) -> None:
        """Remove what is older than the retention, some at a time, so that no reply waits for long."""
        if self._retention_days is None:
            self._next_purge = self._monotonic() + PURGE_SECONDS
            return
        if self._monotonic() < self._next_purge:
            return
        now = self._started[0] + self._monotonic() - self._started[1]
        try:
            base = self._connection()
            removed = log_file.remove_before(base, now - self._retention_days * DAY, now, PURGED_TOGETHER)
            if removed == PURGED_TOGETHER:
                return
            if removed:
                log_file.truncate(base)
        except Exception as error:
            self._let_go()
            log.error("the decision log could not be cleared of old records: %s", _reason(error))
        self._next_purge = self._monotonic() + PURGE_SECONDS


async def _written(future: "Future[None]") -> None:
    try:
        await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), WAIT_SECONDS)
    except TimeoutError as error:
        raise _silent() from error


def _silent() -> LogFailed:
    return LogFailed(f"the decision log did not answer within {WAIT_SECONDS:g} s")


def _file(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _reason(error: Exception) -> str:
    """What may be told of it: SQLite and the system name files and limits; any other message might quote a text (law 7)."""
    return str(error) if isinstance(error, (sqlite3.Error, OSError, LogUnreadable)) else describe(error)
