"""An index's files, documents, passages and terms in one SQLite file.

Knows rows and their numbers. Does not know scores, nor when a file on disk has changed.
"""

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.corpus import DistinctIds, Document, Passage

_SCHEMA = """
CREATE TABLE files(number INTEGER PRIMARY KEY, path BLOB, name TEXT, hash TEXT, bytes INTEGER);
CREATE TABLE skipped(file INTEGER, reason TEXT);
CREATE TABLE documents(number INTEGER PRIMARY KEY, file INTEGER, own TEXT, id TEXT UNIQUE, title TEXT, url TEXT, source TEXT,
                       first INTEGER, passages INTEGER);
CREATE TABLE passages(number INTEGER PRIMARY KEY, document INTEGER, start INTEGER, "end" INTEGER, heading TEXT, text TEXT);
CREATE TABLE terms(term TEXT PRIMARY KEY, number INTEGER, holding INTEGER) WITHOUT ROWID;
"""
# Made once every row is there, so that a file's own are found without a look at all of them.
_INDEXES = """
CREATE INDEX documents_of ON documents(file);
CREATE INDEX skipped_of ON skipped(file);
"""
_PASSAGE = """
SELECT d.id, p.number - d.first + 1, d.title, d.url, d.source, p.text, p.start, p."end", p.heading
FROM passages p JOIN documents d ON d.number = p.document
"""
_REMEMBERED = 100_000


@dataclass(frozen=True)
class Read:
    """A file as it was read. `hash` of its content, "" when that could not be read. `number`: its place in the order of reading."""

    number: int
    path: Path
    name: str
    hash: str
    bytes: int


@dataclass(frozen=True)
class Filed:
    """A document without its text. `own`: the id it asked for; `first`: its first passage's row."""

    own: str
    title: str
    url: str
    source: str
    first: int
    passages: int


class Catalogue:
    """A catalogue that was written, read-only. Nothing of it is held in memory but terms that were asked for.

    Safe to use from several threads. Errors of a damaged file are sqlite3.DatabaseError.
    """

    def __init__(self, file: Path, passages: int) -> None:
        """Raises sqlite3.OperationalError when the file cannot be opened."""
        # One connection for good: the file may be removed while this generation is still in use.
        self._base = sqlite3.connect(
            f"{file.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )
        weakref.finalize(self, self._base.close)
        self._lock = threading.Lock()
        self._passages = passages
        self._known: dict[str, tuple[int, int] | None] = {}
        self._rows("SELECT 1 FROM files LIMIT 1")

    def __len__(self) -> int:
        """The number of passages."""
        return self._passages

    def __iter__(self) -> Iterator[Passage]:
        """Every passage in order."""
        for row in range(len(self)):
            yield self.at(row)

    def at(self, row: int) -> Passage:
        """The passage of a row, from 0 on. Raises IndexError."""
        for found in self._rows(_PASSAGE + "WHERE p.number = ?", row):
            return _passage(*found)
        raise IndexError(row)

    def named(self, id: str) -> Passage:
        """The passage of an id. Raises KeyError."""
        document, _, number = id.rpartition("#")
        if number.isascii() and number.isdigit() and len(number) < 18:
            rows = self._rows(_PASSAGE + "WHERE d.id = ? AND p.number = d.first + ? - 1", document, int(number))
            if rows and _passage(*rows[0]).id == id:
                return _passage(*rows[0])
        raise KeyError(id)

    def term(self, term: str) -> tuple[int, int] | None:
        """A term's number and how many passages hold it; None for one that none does."""
        known = self._known
        if term in known:
            return known[term]
        rows = self._rows("SELECT number, holding FROM terms WHERE term = ?", term)
        found = (int(rows[0][0]), int(rows[0][1])) if rows else None
        if len(known) >= _REMEMBERED:
            known = self._known = {}
        known[term] = found
        return found

    def terms(self) -> list[tuple[str, int]]:
        """Every term and how many passages hold it, in the order of the numbers."""
        return [
            (term, holding) for term, _, holding in sorted(self._rows("SELECT * FROM terms"), key=lambda row: row[1])
        ]

    def files(self) -> list[Read]:
        """The files in the order in which they were read."""
        rows = self._rows("SELECT number, path, name, hash, bytes FROM files ORDER BY number")
        return [Read(number, Path(os.fsdecode(path)), *rest) for number, path, *rest in rows]

    def skipped(self, file: int) -> list[str]:
        """Why parts of a file, or the whole, were not read."""
        return [reason for (reason,) in self._rows("SELECT reason FROM skipped WHERE file = ? ORDER BY rowid", file)]

    def documents(self, file: int) -> list[Filed]:
        """A file's documents in order."""
        query = "SELECT own, title, url, source, first, passages FROM documents WHERE file = ? ORDER BY number"
        return [Filed(*row) for row in self._rows(query, file)]

    def pieces(self, document: Filed) -> list[Passage]:
        """A document's passages in order."""
        query = _PASSAGE + "WHERE p.number >= ? AND p.number < ? ORDER BY p.number"
        return [_passage(*row) for row in self._rows(query, document.first, document.first + document.passages)]

    def _rows(self, query: str, *values: str | int) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._base.execute(query, values).fetchall()


class NewCatalogue:
    """A catalogue being written: whole after `finish`, to be removed after `close` without it."""

    def __init__(self, file: Path) -> None:
        """Raises sqlite3.OperationalError when the file cannot be made."""
        self._base = sqlite3.connect(file)
        # Until the manifest names it nobody reads this file: a journal would only take time.
        self._base.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; {_SCHEMA} BEGIN;")
        self._ids = DistinctIds(self._taken)
        self._file = self.documents = self.passages = 0

    def file(self, path: Path, name: str, hash: str, size: int) -> None:
        """Begins a file: documents and reasons that follow are its own."""
        self._file += 1
        row = (self._file, os.fsencode(path), name, hash, size)
        self._base.execute("INSERT INTO files VALUES (?, ?, ?, ?, ?)", row)

    def skip(self, reason: str) -> None:
        """Says why a part of the file was not read."""
        self._base.execute("INSERT INTO skipped VALUES (?, ?)", (self._file, reason))

    def add(self, document: Document | Filed, passages: Sequence[Passage]) -> None:
        """A document and its passages. Where its id is taken it gets another, and so do its passages."""
        own = document.id if isinstance(document, Document) else document.own
        named = (own, self._ids.give(own), document.title, document.url, document.source)
        row = (self.documents, self._file, *named, self.passages, len(passages))
        self._base.execute("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        self._base.executemany(
            "INSERT INTO passages VALUES (?, ?, ?, ?, ?, ?)",
            (
                (number, self.documents, each.start, each.end, each.heading, each.text)
                for number, each in enumerate(passages, self.passages)
            ),
        )
        self.documents += 1
        self.passages += len(passages)

    def finish(self, terms: Iterable[tuple[str, int]]) -> None:
        """Writes the terms, each with how many passages hold it, in the order of their numbers, and closes the file."""
        rows = sorted((term, number, holding) for number, (term, holding) in enumerate(terms))
        self._base.executemany("INSERT INTO terms VALUES (?, ?, ?)", rows)
        for statement in _INDEXES.strip().splitlines():
            self._base.execute(statement)
        self._base.commit()
        self._base.close()

    def close(self) -> None:
        """Lets go of the file, finished or not."""
        self._base.close()

    def _taken(self, id: str) -> bool:
        with closing(self._base.execute("SELECT 1 FROM documents WHERE id = ?", (id,))) as found:
            return found.fetchone() is not None


def _passage(
    document: str, number: int, title: str, url: str, source: str, text: str, start: int, end: int, heading: str
) -> Passage:
    return Passage(f"{document}#{number}", document, title, url, source, text, start, end, heading)
