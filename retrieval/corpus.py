"""Files in, documents out; documents in, passages with exact character offsets out.

Knows folders, ids, headings and how long a passage is. What a file's bytes say is known in `formats.py`; tokens, ranking and
indexes are not known here.
"""

import glob
import os
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from retrieval.formats import SUFFIXES, read_texts, suffix_of
from retrieval.sentences import Span, sentences
from retrieval.streams import Unreadable

# A run without white space longer than this many characters per asked word (base64, some scripts) is cut anywhere.
_CHARACTERS_PER_WORD = 20
_WORD = re.compile(r"\S+")
# Repeated in every passage below it, so a hostile one must not be long.
_LONGEST_HEADING = 120
# "## Words", the fence of some code, or a line of its own with === or --- under it. (A paragraph above ---, or the fields between
# a file's first two ---, are no headings.)
_HEADING = re.compile(
    r"^ {0,3}(?:(#{1,6})[ \t]+([^\n]*)|(```|~~~))"
    rf"|(?<![^\n]\n)^ {{0,3}}([^\s\-*+>|=][^\n]{{,{_LONGEST_HEADING}}})\n {{0,3}}(?:(={{3,}})|-{{3,}})[ \t]*$",
    re.MULTILINE,
)
_SURROGATE = re.compile("[\ud800-\udfff]")


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
    """A piece of a document. Law: `document.text[start:end] == text`, always. `id` is `document_id#number`, counted from 1.

    `heading`: the headings above it from the outermost on, "Setup > Linux", without the document's title; "" when there are none.
    """

    id: str
    document_id: str
    title: str
    url: str
    source: str
    text: str
    start: int
    end: int
    heading: str = ""


@dataclass(frozen=True)
class File:
    """A file to be read. `name`: the id of a document that is the whole file."""

    path: Path
    name: str


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
    skipped: list[Skipped] = []
    found: list[Document] = []
    for file in list(find_files(paths)):
        if isinstance(file, Skipped):
            skipped.append(file)
            continue
        for each in read_file(file):
            if isinstance(each, Skipped):
                skipped.append(each)
            else:
                found.append(each)
        if progress is not None:
            progress(file.path)
    return _distinct(found), skipped


def find_files(paths: Iterable[str | Path] | str | Path) -> Iterator[File | Skipped]:
    """The files that `read_documents` reads, each once, in its order; a folder without any is listed as skipped.

    Raises FileNotFoundError, naming the path, when a given path does not exist.
    """
    named = [paths] if isinstance(paths, str | Path) else list(paths)
    seen: set[str] = set()
    for path in [path for name in named for path in _expanded(name)]:
        files = _files(path) if path.is_dir() else iter([path])
        empty = True
        for file in files:
            empty = False
            real = os.path.realpath(file)
            if real in seen:  # named twice, or named and inside a named folder
                continue
            seen.add(real)
            name = file.relative_to(path) if file != path else Path(file.name)
            # Bytes of a name that are not UTF-8 come as lone surrogates, which cannot be written as UTF-8 later on.
            yield File(file, _SURROGATE.sub("\ufffd", _without_suffixes(name).as_posix()))
        if empty:
            yield Skipped(str(path), f"no {', '.join(SUFFIXES)} file in this folder")


def read_file(file: File, advance: Callable[[int], None] | None = None) -> Iterator[Document | Skipped]:
    """One file's documents, ids not yet made distinct, and what was wrong with it. `advance` hears of the bytes read from disk."""
    path = str(file.path)
    if file.path.exists() and not file.path.is_file():
        yield Skipped(path, "not a regular file")
        return
    stem = Path(file.name).name
    try:
        for found in read_texts(file.path, advance):
            if isinstance(found, Unreadable):
                yield Skipped(path, found.reason)
                continue
            own = found.id or (file.name if found.number is None else f"{stem}:{found.number}")
            title = found.title or (stem if found.number is None else own)
            yield Document(own, title, found.text, found.url, found.source, path)
    except OSError as error:
        yield Skipped(path, f"unreadable: {error.strerror or error}")


class DistinctIds:
    """An id of its own for every document: "a", then "a-2", "a-3" where "a" is asked for again."""

    def __init__(self, taken: Callable[[str], bool]) -> None:
        """`taken` says of an id whether an earlier document has it."""
        self._taken = taken
        self._last: dict[str, int] = {}  # without it, n documents of one id would take n * n looks

    def give(self, asked: str) -> str:
        name, number = asked, self._last.get(asked, 1)
        while self._taken(name):
            number += 1
            name = f"{asked}-{number}"
        if number > 1:
            self._last[asked] = number
        return name


def _distinct(documents: list[Document]) -> list[Document]:
    taken: set[str] = set()
    ids = DistinctIds(taken.__contains__)
    renamed: list[Document] = []
    for document in documents:
        name = ids.give(document.id)
        taken.add(name)
        renamed.append(document if name == document.id else replace(document, id=name))
    return renamed


def split_passages(document: Document, words: int = 100) -> list[Passage]:
    """Cuts a document into passages of about `words` words that end where sentences end.

    A sentence of more than twice `words` words is cut at white space. Text that is only white space gives []. Raises
    ValueError when `words` is below 1.
    """
    if words < 1:
        raise ValueError(f"words must be at least 1, not {words}")
    headings = _headings(document.text, document.title)
    starts = [start for start, _ in headings]
    scrap = words / 4
    spans: list[tuple[int, int, int, int]] = []  # start, end, words, section of the start
    section = 0
    for span in sentences(document.text):
        for start, end, count in _pieces(document.text, span, words):
            before, section = section, bisect_right(starts, start)
            turned = section > before  # a new section begins a new passage, unless that would leave a scrap
            if turned and len(spans) > 1 and spans[-1][2] < scrap and spans[-1][3] == spans[-2][3]:
                spans[-2:] = [_joined(*spans[-2:])]
            if spans:
                open_count = spans[-1][2]
                # Closing now leaves the passage short, going on makes it long: take the smaller error.
                goes_on = open_count + count - words <= words - open_count
                if open_count < scrap if turned else goes_on:
                    spans[-1] = _joined(spans[-1], (start, end, count, section))
                    continue
            spans.append((start, end, count, section))
    if len(spans) > 1 and spans[-1][2] < scrap:
        spans[-2:] = [_joined(*spans[-2:])]  # a stray last sentence says little alone
    return [
        Passage(
            id=f"{document.id}#{number}",
            document_id=document.id,
            title=document.title,
            url=document.url,
            source=document.source,
            text=document.text[start:end],
            start=start,
            end=end,
            heading=headings[bisect_right(starts, start) - 1][1] if starts and starts[0] <= start else "",
        )
        for number, (start, end, _, _) in enumerate(spans, start=1)
    ]


def _joined(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    return first[0], second[1], first[2] + second[2], first[3]


def _headings(text: str, title: str) -> list[tuple[int, str]]:
    """Where each heading line begins, and the headings in force from there on, joined. Lines of fenced code are no headings."""
    found: list[tuple[int, str]] = []
    above: list[tuple[int, str]] = []  # level, words
    fence = ""
    for line in _HEADING.finditer(text):
        marks, said, ticks, underlined, double = line.groups()
        if ticks or fence:
            fence = "" if ticks == fence else fence or ticks or ""
            continue
        level = len(marks) if marks else 1 if double else 2
        said = " ".join((underlined or said.strip().rstrip("#")).split())[:_LONGEST_HEADING]
        above = [each for each in above if each[0] < level] + [(level, said)]
        found.append((line.start(), " > ".join(words for _, words in above if words and words != title)))
    return found


def _pieces(text: str, span: Span, words: int) -> Iterator[tuple[int, int, int]]:
    """A sentence as (start, end, words), in several pieces when it is over-long."""
    start, end = span
    count = len(text[start:end].split())
    if count <= 2 * words and end - start <= words * _CHARACTERS_PER_WORD:
        yield start, end, count
        return
    found = [part for word in _WORD.finditer(text, *span) for part in _parts(word.span(), words)]
    step = words if len(found) > 2 * words else len(found)
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
