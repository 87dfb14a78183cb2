"""Files in, documents out; documents in, passages with exact character offsets out.

Knows folders, ids and how long a passage is. What a file's bytes say is known in `formats.py`; tokens, ranking and indexes are
not known here.
"""

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from retrieval.formats import SUFFIXES, Unreadable, read_texts, suffix_of
from retrieval.sentences import Span, sentences

# A run without white space longer than this many characters per asked word (base64, some scripts) is cut anywhere.
_CHARACTERS_PER_WORD = 20
_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Document:
    """One text with its name. `url` and `source` may be empty; `path` is the file it came from ("" when none)."""

    id: str
    title: str
    text: str
    url: str = ""
    source: str = ""
    path: str = ""


@dataclass(frozen=True)
class Passage:
    """A piece of a document. Law: `document.text[start:end] == text`, always. `id` is `document_id#number`, counted
    from 1.
    """

    id: str
    document_id: str
    title: str
    url: str
    source: str
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Skipped:
    """A file, or a line of one, that was not read, and why."""

    path: str
    reason: str


def read_documents(
    paths: Iterable[str | Path] | str | Path, progress: Callable[[Path], None] | None = None
) -> tuple[list[Document], list[Skipped]]:
    """Reads files, folders (recursive, in sorted order, hidden names ignored) and globs ("notes/**/*.md") of Markdown, plain text,
    HTML, PDF, CSV and JSON Lines, gzipped ones too.

    A line of JSON is {"text", "id"?, "title"?, "source"?, "url"?}; a row of CSV has such columns, or all its cells are its text.
    What cannot be read is listed with its reason, never dropped in silence; one bad line does not cost the others. Files of other
    suffixes are passed over unless they are named directly. A document whose id is taken gets "-2", "-3", … so nothing is lost.
    `progress` is called with each file when it is done.

    Raises FileNotFoundError, naming the path, when a given path does not exist.
    """
    named = [paths] if isinstance(paths, str | Path) else list(paths)
    given = [path for name in named for path in _expanded(name)]
    skipped: list[Skipped] = []
    found: list[Document] = []
    seen: set[Path] = set()
    for path in given:
        files = list(_files(path)) if path.is_dir() else [path]
        if not files:
            skipped.append(Skipped(str(path), f"no {', '.join(SUFFIXES)} file in this folder"))
        for file in files:
            if file.resolve() in seen:  # named twice, or named and inside a named folder
                continue
            seen.add(file.resolve())
            name = file.relative_to(path) if file != path else Path(file.name)
            documents, problems = _read(file, _without_suffixes(name).as_posix())
            found += documents
            skipped += problems
            if progress is not None:
                progress(file)
    return _distinct(found), skipped


def split_passages(document: Document, words: int = 100) -> list[Passage]:
    """Cuts a document into passages of about `words` words that end where sentences end.

    A sentence of more than twice `words` words is cut at white space. Text that is only white space gives []. Raises
    ValueError when `words` is below 1.
    """
    if words < 1:
        raise ValueError(f"words must be at least 1, not {words}")
    pieces = [piece for span in sentences(document.text) for piece in _pieces(document.text, span, words)]
    spans: list[tuple[int, int, int]] = []  # start, end, words
    for start, end, count in pieces:
        if spans:
            open_start, _, open_count = spans[-1]
            # Closing now leaves the passage short, going on makes it long: take the smaller error.
            if open_count + count - words <= words - open_count:
                spans[-1] = (open_start, end, open_count + count)
                continue
        spans.append((start, end, count))
    if len(spans) > 1 and spans[-1][2] < words / 4:
        (start, _, count), (_, end, rest) = spans[-2:]
        spans[-2:] = [(start, end, count + rest)]  # a stray last sentence says little alone
    return [_passage(document, number, start, end) for number, (start, end, _) in enumerate(spans, start=1)]


def _passage(document: Document, number: int, start: int, end: int) -> Passage:
    return Passage(
        id=f"{document.id}#{number}",
        document_id=document.id,
        title=document.title,
        url=document.url,
        source=document.source,
        text=document.text[start:end],
        start=start,
        end=end,
    )


def _pieces(text: str, span: Span, words: int) -> Iterator[tuple[int, int, int]]:
    """A sentence as (start, end, words), in several pieces when it is over-long."""
    found = [part for word in _WORD.finditer(text, *span) for part in _parts(word.span(), words)]
    step = words if len(found) > 2 * words else max(len(found), 1)
    for first in range(0, len(found), step):
        chunk = found[first : first + step]
        yield chunk[0][0], chunk[-1][1], len(chunk)


def _parts(word: Span, words: int) -> Iterator[Span]:
    """A run without white space: itself, or slices of it, each counted as as many words as it is long."""
    start, end = word
    if end - start <= words * _CHARACTERS_PER_WORD:
        yield word
    else:
        for cut in range(start, end, _CHARACTERS_PER_WORD):
            yield cut, min(cut + _CHARACTERS_PER_WORD, end)


def _without_suffixes(name: Path) -> Path:
    return name.with_suffix("").with_suffix("") if name.suffix.lower() == ".gz" else name.with_suffix("")


def _expanded(name: str | Path) -> list[Path]:
    path = Path(name)
    if path.exists():
        return [path]
    found = [Path(each) for each in sorted(glob.glob(str(name), recursive=True))] if glob.has_magic(str(name)) else []
    if not found:
        raise FileNotFoundError(f"no such file or folder: {path}")
    return found


def _files(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and suffix_of(Path(name)) in SUFFIXES:
                yield Path(root) / name


def _read(file: Path, name: str) -> tuple[list[Document], list[Skipped]]:
    """One file's documents and what was wrong with it. `name` is the id that a whole file gets."""
    documents: list[Document] = []
    skipped: list[Skipped] = []
    if file.exists() and not file.is_file():
        return [], [Skipped(str(file), "not a regular file")]
    stem = Path(name).name
    try:
        for found in read_texts(file):
            if isinstance(found, Unreadable):
                skipped.append(Skipped(str(file), found.reason))
                continue
            own = found.id or (name if found.number is None else f"{stem}:{found.number}")
            title = found.title or (stem if found.number is None else own)
            documents.append(Document(own, title, found.text, found.url, found.source, str(file)))
    except OSError as error:
        skipped.append(Skipped(str(file), f"unreadable: {error.strerror or error}"))
    return documents, skipped


def _distinct(documents: list[Document]) -> list[Document]:
    taken: set[str] = set()
    renamed: list[Document] = []
    for document in documents:
        name, number = document.id, 1
        while name in taken:
            number += 1
            name = f"{document.id}-{number}"
        taken.add(name)
        renamed.append(document if name == document.id else replace(document, id=name))
    return renamed
