"""Files in, documents out; documents in, passages with exact character offsets out.

Knows file formats (md, txt, jsonl) and how long a passage is. Does not know about tokens, ranking or indexes.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from retrieval.sentences import Span, sentences

SUFFIXES = (".md", ".txt", ".jsonl")

# A run without white space longer than this many characters per asked word (base64, some scripts) is cut anywhere.
_CHARACTERS_PER_WORD = 20
_SURROGATE = re.compile("[\ud800-\udfff]")
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
    """Reads files and folders (recursive, in sorted order, hidden names ignored) of .md, .txt and .jsonl.

    A .jsonl line is {"text", "id"?, "title"?, "source"?, "url"?}. What cannot be read is listed with its reason, never
    dropped in silence; one bad line does not cost the others. Files of other suffixes are passed over unless they are
    named directly. A document whose id is taken gets "-2", "-3", … so nothing is lost. `progress` is called with each
    file when it is done.

    Raises FileNotFoundError, naming the path, when a given path does not exist.
    """
    given = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    for path in given:
        if not path.exists():
            raise FileNotFoundError(f"no such file or folder: {path}")
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
            documents, problems = _read(file, name.with_suffix("").as_posix())
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


def _files(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield Path(root) / name


def _read(file: Path, name: str) -> tuple[list[Document], list[Skipped]]:
    """One file's documents and what was wrong with it. `name` is the id that a whole file gets."""
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        return [], [Skipped(str(file), f"unknown kind {suffix or 'without suffix'}: expected {', '.join(SUFFIXES)}")]
    try:
        if file.exists() and not file.is_file():
            return [], [Skipped(str(file), "not a regular file")]
        raw = file.read_bytes()
    except OSError as error:
        return [], [Skipped(str(file), f"unreadable: {error.strerror or error}")]
    if b"\0" in raw:
        return [], [Skipped(str(file), "binary, or text that is not UTF-8")]
    if not raw.strip():
        return [], [Skipped(str(file), "empty")]
    if suffix == ".jsonl":
        return _read_lines(file, raw)
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        return [], [Skipped(str(file), f"not UTF-8 (byte {error.start})")]
    if not text.strip():
        return [], [Skipped(str(file), "empty")]
    title = (_heading(text) if suffix == ".md" else None) or file.stem
    return [Document(id=name, title=title, text=text, path=str(file))], []


def _heading(text: str) -> str | None:
    found = re.search(r"^# +(\S.*)$", text, flags=re.MULTILINE)
    return found.group(1).strip() if found else None


def _read_lines(file: Path, raw: bytes) -> tuple[list[Document], list[Skipped]]:
    documents: list[Document] = []
    skipped: list[Skipped] = []
    # Split at \n alone, in bytes: U+2028 is allowed inside JSON strings, and one undecodable line must not cost the
    # file.
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            documents.append(_document(line.decode("utf-8"), file, number))
        except (
            ValueError,
            RecursionError,
        ) as error:  # undecodable, bad JSON, bad fields; nested beyond the parser's depth
            skipped.append(Skipped(str(file), f"line {number}: {_reason(error)}"))
    return documents, skipped


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 (byte {error.start} of the line)"
    if isinstance(error, json.JSONDecodeError):
        return f"bad JSON: {error.msg} at character {error.pos}"
    return str(error)


def _document(line: str, file: Path, number: int) -> Document:
    row = json.loads(line)
    if not isinstance(row, dict):
        raise ValueError(f"expected a JSON object, not {type(row).__name__}")
    if "text" not in row:
        raise ValueError('missing field "text"')
    for key in ("text", "title", "source", "url"):
        if row.get(key) is not None and not isinstance(row[key], str):
            raise ValueError(f'field "{key}" must be a string')
    if isinstance(row.get("id"), bool | float | list | dict):
        raise ValueError('field "id" must be a string or a whole number')
    # A lone surrogate (JSON may escape one) cannot be written as UTF-8 later on.
    clean = {key: _SURROGATE.sub("\ufffd", str(value)) for key, value in row.items() if value is not None}
    if not clean.get("text", "").strip():
        raise ValueError("empty text")
    name = clean.get("id") or f"{file.stem}:{number}"
    return Document(
        id=name,
        title=clean.get("title") or name,
        text=clean["text"],
        url=clean.get("url", ""),
        source=clean.get("source", ""),
        path=str(file),
    )


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
