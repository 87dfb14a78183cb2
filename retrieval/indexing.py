"""Files in, an index's folder kept up to date: only what is new, changed or gone is read again.

Knows what an earlier run read. Formats, passages and scores are others' business.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.bm25 import Advance, engine_name
from retrieval.catalogue import Catalogue, Filed, Read
from retrieval.corpus import File, Skipped, find_files, read_file, split_passages
from retrieval.index import FORMAT, PASSAGES, Index, NewIndex, scored_alike, tokens_in
from retrieval.storage import DamagedIndex, Generation, check, current, opened, replacing
from retrieval.tokens import ENGLISH, settings

Progress = Callable[[str, int | None], AbstractContextManager[Advance]]
"""progress("reading", total bytes) as a context gives a function that is told of each step."""

_MOST_REASONS = 100  # of one file: a file of a million broken lines must not fill the memory, nor the screen


@dataclass(frozen=True)
class Update:
    """What one run did: files by what became of them since the last one, and what the index holds now.

    `anew`: why nothing of an earlier index could be kept, "" when it could, or when there was none.
    """

    new: int
    changed: int
    deleted: int
    unchanged: int
    documents: int
    passages: int
    engine: str
    skipped: tuple[Skipped, ...]
    anew: str = ""


class NothingFound(ValueError):
    """No document was found. `skipped`: what was there, and why it could not be read."""

    def __init__(self, message: str, skipped: Sequence[Skipped]) -> None:
        super().__init__(message)
        self.skipped = tuple(skipped)


@contextmanager
def _silent(what: str, total: int | None) -> Iterator[Advance]:
    yield lambda n: None


def update_index(
    paths: Iterable[str | Path] | str | Path,
    folder: str | Path,
    engine: str = "auto",
    words: int = 100,
    progress: Progress = _silent,
    waiting: Callable[[], None] = lambda: None,
    language: str = ENGLISH,
) -> Update:
    """Makes `folder` the index of exactly these files, folders and globs (see `read_documents`), reading what an earlier run has
    not read: files are compared by SHA-256 of their content.

    The result is the same, row by row, as if all had been read anew. Readers see the old index until the new one is whole; a killed
    run changes nothing. Documents are read one at a time, so memory grows with the vocabulary and the longest document alone. A
    second writer waits, after `waiting()` has been called. Nothing is written when nothing has changed.

    Raises FileNotFoundError for a path that does not exist, FileExistsError when `folder` holds other files, ValueError for an
    unknown engine or language, NothingFound without any document: the folder is left as it was.
    """
    folder = Path(folder)
    engine_name(engine, 0)
    settings(language)  # both raise for an unknown name before anything is read
    found = list(find_files(paths))
    files = [each for each in found if isinstance(each, File)]
    skipped = [each for each in found if isinstance(each, Skipped)]
    with replacing(folder, waiting) as place:
        earlier, anew = _earlier(folder, words, language)
        now = _hashed(files, progress)
        before = earlier.files if earlier else []
        known = {(each.path, each.name): each for each in before}
        kept = [_same(each, known.get((each.path, each.name))) for each in now]
        counts: dict[str, Any] = {
            "new": sum((each.path, each.name) not in known for each in now),
            "changed": sum(
                same is None and (each.path, each.name) in known for each, same in zip(now, kept, strict=True)
            ),
            "deleted": len(known.keys() - {(each.path, each.name) for each in now}),
            "unchanged": sum(same is not None for same in kept),
        }
        if earlier and [same.number if same else 0 for same in kept] == [each.number for each in before]:
            facts = earlier.generation.facts
            if engine_name(engine, facts["passages"]) == facts["engine"] and scored_alike(facts):
                skipped += [
                    Skipped(str(each.path), reason) for each in before for reason in earlier.base.skipped(each.number)
                ]
                return Update(**counts, **_holds(facts), skipped=tuple(skipped), anew=anew)
        with NewIndex(place.begin(), language) as made:
            unread = sum(each.bytes for each, same in zip(now, kept, strict=True) if same is None)
            with progress("reading", unread) as advance:
                for each, same in zip(now, kept, strict=True):
                    if same is not None and earlier is not None:
                        skipped += _copy(earlier, same, made)
                    else:
                        skipped += _read(each, made, words, advance)
            if not made.catalogue.documents:
                raise NothingFound("no documents were found", skipped)
            with progress("scoring", made.catalogue.passages) as advance:
                facts = {**made.finish(engine, advance), "words": words, "files read": len(now)}
        place.publish(facts)
    return Update(**counts, **_holds(facts), skipped=tuple(skipped), anew=anew)


def index_status(folder: str | Path, whole: bool = False) -> dict[str, Any]:
    """What an index holds: "documents", "passages", "terms", "files", "engine", "tokeniser", "bytes", "built" (UTC).

    `whole`: every file is compared with its checksum, however large. Raises what `Index.load` raises.
    """

    def look(generation: Generation) -> dict[str, Any]:
        index = Index.of(generation)
        if whole:
            check(generation, whole=True)
        facts = generation.facts
        return {
            "documents": index.document_count,
            "passages": len(index),
            "terms": facts["terms"],
            "files": facts.get("files read", 0),
            "engine": index.engine,
            "tokeniser": facts["tokeniser"],
            "bytes": generation.size,
            "built": facts["built"],
        }

    return opened(Path(folder), look)


class _Earlier:
    """What an earlier run read, of a generation that is whole."""

    def __init__(self, generation: Generation) -> None:
        """Raises DamagedIndex, OSError, sqlite3.Error, ValueError."""
        check(generation, whole=True)
        self.generation = generation
        self.base = Catalogue(generation.folder / PASSAGES, int(generation.facts["passages"]))
        self.files = self.base.files()
        self._words = [term for term, _ in self.base.terms()]
        tokens = tokens_in(generation.folder, np.empty(len(self._words)))
        self._terms, self._ends = tokens.terms, np.cumsum(tokens.lengths, dtype=np.int64)

    def terms(self, document: Filed) -> Iterator[list[str]]:
        """Each passage's terms."""
        for row in range(document.first, document.first + document.passages):
            start = int(self._ends[row - 1]) if row else 0
            yield [self._words[number] for number in self._terms[start : int(self._ends[row])].tolist()]


def _earlier(folder: Path, words: int, language: str) -> tuple[_Earlier | None, str]:
    """What can be kept of the folder's index, and why nothing can."""
    try:
        generation = current(folder)
    except DamagedIndex as error:
        return None, str(error) if any(folder.glob("g-*")) or (folder / "manifest.json").exists() else ""
    own = {"format": FORMAT, "tokeniser": settings(language), "words": words}
    if any(generation.facts.get(name) != value for name, value in own.items()):
        return None, "the earlier index was made by another version, in another language, or not from files"
    try:
        return _Earlier(generation), ""
    except (DamagedIndex, OSError, sqlite3.Error, ValueError) as error:
        return None, str(error)


def _hashed(files: Sequence[File], progress: Progress) -> list[Read]:
    """Every file with the SHA-256 of its content, numbered from 1; "" for one that cannot be read."""
    hashed = []
    with progress("comparing", len(files)) as advance:
        for number, file in enumerate(files, 1):
            try:
                if not file.path.is_file():  # reading a pipe would wait for ever
                    raise OSError("not a regular file")
                with file.path.open("rb") as content:
                    digest = hashlib.file_digest(content, "sha256").hexdigest()
                    size = content.tell()
            except OSError:
                digest, size = "", 0
            hashed.append(Read(number, file.path, file.name, digest, size))
            advance(1)
    return hashed


def _same(now: Read, before: Read | None) -> Read | None:
    """The earlier reading of a file whose content is the same, or could not be read then either."""
    return before if before is not None and now.hash == before.hash else None


def _copy(earlier: _Earlier, file: Read, made: NewIndex) -> list[Skipped]:
    made.catalogue.file(file.path, file.name, file.hash, file.bytes)
    for document in earlier.base.documents(file.number):
        made.add(document, earlier.base.pieces(document), earlier.terms(document))
    reasons = earlier.base.skipped(file.number)
    for reason in reasons:
        made.catalogue.skip(reason)
    return [Skipped(str(file.path), reason) for reason in reasons]


def _read(file: Read, made: NewIndex, words: int, advance: Advance) -> list[Skipped]:
    made.catalogue.file(file.path, file.name, file.hash, file.bytes)
    reasons: list[str] = []
    more = heard = 0

    def count(n: int) -> None:
        nonlocal heard
        n = min(n, file.bytes - heard)  # a file may have grown, and a long one is opened twice
        heard += n
        advance(n)

    for each in read_file(File(file.path, file.name), count):
        if not isinstance(each, Skipped):
            made.add(each, split_passages(each, words))
        elif len(reasons) < _MOST_REASONS:
            reasons.append(each.reason)
        else:
            more += 1
    if more:
        reasons.append(f"and {more:,} more lines or parts that could not be read")
    for reason in reasons:
        made.catalogue.skip(reason)
    advance(file.bytes - heard)
    return [Skipped(str(file.path), reason) for reason in reasons]


def _holds(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: facts[name] for name in ("documents", "passages", "engine")}
