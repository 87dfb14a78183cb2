"""The decision log's file: one SQLite database, its schema, and what is read back from it.

Knows tables and versions of the schema. Does not know when records are written (`decision_log.py`).
"""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from service import records
from service.records import Record

APPLICATION = 0x57494E4E
"""SQLite's `application_id` of a decision log: WINN."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE decisions(number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, created INTEGER NOT NULL,
           all_dropped INTEGER NOT NULL, record TEXT NOT NULL)""",
        "CREATE INDEX decisions_created ON decisions(created)",
        """CREATE TABLE reasons(decision INTEGER NOT NULL REFERENCES decisions(number) ON DELETE CASCADE, name TEXT NOT NULL,
           PRIMARY KEY(decision, name)) WITHOUT ROWID""",
        """CREATE TABLE texts(decision INTEGER NOT NULL REFERENCES decisions(number) ON DELETE CASCADE, digest TEXT NOT NULL,
           content BLOB NOT NULL, PRIMARY KEY(decision, digest)) WITHOUT ROWID""",
        """CREATE TABLE labels(number INTEGER PRIMARY KEY AUTOINCREMENT,
           decision INTEGER NOT NULL REFERENCES decisions(number) ON DELETE CASCADE, choice INTEGER NOT NULL, reasons TEXT NOT NULL,
           created INTEGER NOT NULL)""",
        "CREATE INDEX labels_of ON labels(decision)",
    ),
)
"""The statements that bring a log from each version of the schema to the next; a new version adds its own at the end."""

BUSY_SECONDS = 10.0
"""How long another process may hold the file."""


class LogUnreadable(ValueError):
    """The file cannot be used as a decision log; the message names it and says why."""


_READ_TOGETHER = 200


@dataclass(frozen=True)
class Label:
    """What a person said of a sent reply: `reasons` names what it violates or lacks, () takes an earlier label back."""

    decision: str
    choice: int
    reasons: tuple[str, ...]
    created: int


def open_for_writing(path: Path, durable: bool) -> sqlite3.Connection:
    """The log's connection, in autocommit mode; made where there is none, brought up to date where it is older.

    `durable`: a commit returns when the disk has it. Raises `LogUnreadable`, sqlite3.Error, OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # it tells what people said: its owner's alone
    base = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _bring_up_to_date(base, path)
        if base.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
            raise LogUnreadable(f"{path} lies where SQLite cannot keep a write-ahead log; choose a local disk")
        base.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        base.execute("PRAGMA foreign_keys=ON")
        base.execute("PRAGMA secure_delete=ON")  # what retention removes is gone, not merely unlinked
    except BaseException:
        base.close()
        raise
    return base


def insert(base: sqlite3.Connection, record: Record) -> None:
    """Adds a record, with its words if it has them. Raises sqlite3.Error."""
    number = base.execute(
        "INSERT INTO decisions(id, created, all_dropped, record) VALUES (?, ?, ?, ?)",
        (record.id, record.created, record.all_dropped, records.written(record)),
    ).lastrowid
    dropped = [judged for judged in record.judged if not judged.kept]
    names = {name for judged in dropped for name in judged.verdict.because or (judged.reason,)}
    base.executemany("INSERT INTO reasons VALUES (?, ?)", [(number, name) for name in sorted(map(str, names))])
    base.executemany(
        "INSERT INTO texts VALUES (?, ?, ?)",
        [(number, digest, text.encode("utf-8", "surrogatepass")) for digest, text in record.texts.items()],
    )


def insert_label(base: sqlite3.Connection, label: Label) -> None:
    """Adds a label. Raises LookupError where there is no such decision, ValueError where it has no such choice."""
    found = base.execute("SELECT number, record FROM decisions WHERE id = ?", (label.decision,)).fetchone()
    if found is None:
        raise LookupError(f"the decision log holds no decision {label.decision!r}")
    choices = len(records.read(found[1], {}, label.decision).replies)
    if not 0 <= label.choice < choices:
        raise ValueError(f"decision {label.decision} has choices 0 to {choices - 1}, not {label.choice}")
    row = (found[0], label.choice, json.dumps(label.reasons), label.created)
    base.execute("INSERT INTO labels(decision, choice, reasons, created) VALUES (?, ?, ?, ?)", row)


def remove_before(base: sqlite3.Connection, created: float, now: float, most: int) -> int:
    """Removes at most so many decisions that are older, with their words and labels; how many it were.

    What was written after a decision that is not that old is not either: a clock that was set back for a while said otherwise.
    """
    # The plus: by number, where what is old comes first, and not by the index.
    recent = "SELECT number FROM decisions WHERE +created BETWEEN ? AND ? ORDER BY number LIMIT 1"
    limit = base.execute(recent, (created, now)).fetchone()
    old = "SELECT number FROM decisions WHERE created < ? AND number < ? ORDER BY created LIMIT ?"
    number = limit[0] if limit else 2**63 - 1
    return base.execute(f"DELETE FROM decisions WHERE number IN ({old})", (created, number, most)).rowcount


def truncate(base: sqlite3.Connection) -> None:
    """Empties the write-ahead log, where words that were removed still stand, unless somebody is reading. Raises sqlite3.Error."""
    base.execute("PRAGMA busy_timeout=0")
    base.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    base.execute(f"PRAGMA busy_timeout={int(1000 * BUSY_SECONDS)}")


class LogReader:
    """A log to be read, while a server writes it or not. As a context manager it is closed at the end."""

    def __init__(self, path: Path) -> None:
        """Raises `LogUnreadable`, FileNotFoundError."""
        if not path.is_file():
            raise FileNotFoundError(f"there is no decision log at {path}")
        self.path = path
        try:
            self._base = _open_for_reading(path)
        except sqlite3.Error as error:
            raise LogUnreadable(f"{path} cannot be read as a decision log: {error}") from error

    def __enter__(self) -> "LogReader":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the file."""
        self._base.close()

    def count(self, since: float | None = None, objective: str | None = None, all_dropped: bool = False) -> int:
        """How many decisions `decisions` gives, without a limit."""
        where, values = _where(since, objective, all_dropped)
        return int(self._rows(f"SELECT count(*) FROM decisions d {where}", values)[0][0])

    def holds_texts(self, since: float | None = None) -> bool:
        """Whether the words of any decision were retained."""
        where, values = _where(since, None, False)
        texts = "EXISTS (SELECT 1 FROM texts t WHERE t.decision = d.number)"
        return bool(self._rows(f"SELECT 1 FROM decisions d {where} AND {texts} LIMIT 1", values))

    def decisions(
        self,
        since: float | None = None,
        objective: str | None = None,
        all_dropped: bool = False,
        limit: int | None = None,
        texts: bool = False,
    ) -> Iterator[Record]:
        """The records, newest first. `since`: seconds since 1970; `objective`: that dropped a candidate, "empty", "unscored" and
        "ungrounded" too; `all_dropped`: only where no candidate passed; `texts`: with their words, where those were retained.

        Raises `LogUnreadable`, `records.BadRecord`.
        """
        where, values = _where(since, objective, all_dropped)
        query = f"""SELECT d.number, d.created, d.id, d.record FROM decisions d {where} AND (d.created, d.number) < (?, ?)
            ORDER BY d.created DESC, d.number DESC LIMIT ?"""
        last, left = (2**62, 2**62), limit
        while left is None or left > 0:
            # Some at a time: a reader that stays would keep the server's write-ahead log from being emptied.
            rows = self._rows(query, (*values, *last, _READ_TOGETHER if left is None else min(left, _READ_TOGETHER)))
            for number, created, id, record in rows:
                yield records.read(record, self._texts(number) if texts else {}, id)
                last = created, number
            left = None if left is None else left - len(rows)
            if len(rows) < _READ_TOGETHER:
                return

    def find(self, id: str, texts: bool = False) -> Record:
        """The record of this id, or of the only one that begins so. Raises LookupError, and as `decisions` does."""
        head = "SELECT number, id, record FROM decisions WHERE "
        rows = self._rows(head + "id = ?", (id,))
        rows = rows or self._rows(head + "substr(id, 1, ?) = ? LIMIT 2", (len(id), id))
        if not rows:
            raise LookupError(f"{self.path} holds no decision {id!r}")
        if len(rows) > 1:
            raise LookupError(f"several decisions begin with {id!r}; give more of the id")
        number, full, record = rows[0]
        return records.read(record, self._texts(number) if texts else {}, full)

    def labels(self) -> list[Label]:
        """The labels that hold, the last of each choice of each decision, oldest first; one that was taken back is none."""
        query = """SELECT d.id, l.choice, l.reasons, l.created FROM labels l JOIN decisions d ON d.number = l.decision
            WHERE l.number IN (SELECT max(number) FROM labels GROUP BY decision, choice) ORDER BY l.number"""
        found = [
            Label(id, choice, tuple(json.loads(reasons)), created)
            for id, choice, reasons, created in self._rows(query, ())
        ]
        return [label for label in found if label.reasons]

    def _texts(self, number: int) -> dict[str, str]:
        rows = self._rows("SELECT digest, content FROM texts WHERE decision = ?", (number,))
        return {digest: content.decode("utf-8", "surrogatepass") for digest, content in rows}

    def _rows(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        try:
            return self._base.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise self._damaged(error) from error

    def _damaged(self, error: sqlite3.Error) -> LogUnreadable:
        return LogUnreadable(f"{self.path} cannot be read as a decision log: {error}")


def _where(since: float | None, objective: str | None, all_dropped: bool) -> tuple[str, tuple[Any, ...]]:
    conditions, values = ["1"], list[Any]()
    if since is not None:
        conditions.append("d.created >= ?")
        values.append(since)
    if objective is not None:
        conditions.append("EXISTS (SELECT 1 FROM reasons r WHERE r.decision = d.number AND r.name = ?)")
        values.append(objective)
    if all_dropped:
        conditions.append("d.all_dropped")
    return f"WHERE {' AND '.join(conditions)}", tuple(values)


def _open_for_reading(path: Path) -> sqlite3.Connection:
    uri = path.resolve().as_uri()
    base = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        try:
            version = _version(base, path)
        except (
            sqlite3.OperationalError
        ):  # in a folder that cannot be written SQLite needs to be told that nobody writes
            if path.with_name(f"{path.name}-wal").exists():
                raise
            base.close()
            base = sqlite3.connect(f"{uri}?immutable=1", uri=True, isolation_level=None)
            version = _version(base, path)
        if version < len(MIGRATIONS):
            with closing(open_for_writing(path, durable=True)):
                pass
    except BaseException:
        base.close()
        raise
    return base


def _bring_up_to_date(base: sqlite3.Connection, path: Path) -> None:
    try:
        if _version(base, path) == len(MIGRATIONS):
            return
        base.execute("BEGIN IMMEDIATE")
        try:
            for statements in MIGRATIONS[_version(base, path) :]:  # looked at again: another process may have done it
                for statement in statements:
                    base.execute(statement)
            base.execute(f"PRAGMA application_id={APPLICATION}")
            base.execute(f"PRAGMA user_version={len(MIGRATIONS)}")
            base.execute("COMMIT")
        except BaseException:
            base.execute("ROLLBACK")
            raise
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        raise LogUnreadable(f"{path} cannot be read as a decision log: {error}") from error


def _version(base: sqlite3.Connection, path: Path) -> int:
    """Of the schema; 0 for an empty file. Raises `LogUnreadable` where it is not known here, or the file is another program's."""
    version = int(base.execute("PRAGMA user_version").fetchone()[0])
    application = int(base.execute("PRAGMA application_id").fetchone()[0])
    if application != APPLICATION and base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise LogUnreadable(f"{path} is a database of another program, not a decision log; name another file")
    if version > len(MIGRATIONS):
        raise LogUnreadable(
            f"{path} has schema version {version}; this Winnow knows them up to {len(MIGRATIONS)}: upgrade it, or name another file"
        )
    return version
