"""A file's bytes in, its texts out: plain text, Markdown, HTML, PDF, CSV and JSON Lines, each also gzipped.

Knows formats; what a web page and a PDF say is read in `pages.py`, encodings and sizes are met in `streams.py`. Does not know
folders, document ids or passages.
"""

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import IO, Any

from retrieval.pages import page_text, pdf_text
from retrieval.streams import Text, TooLarge, Unreadable, characters, decode, opened, pieces, tidy, whole

SUFFIXES = (".md", ".markdown", ".txt", ".html", ".htm", ".pdf", ".csv", ".tsv", ".jsonl", ".ndjson")
MAX_LINE = 10_000_000
"""Characters of one line, row or web page: what is longer is skipped and said so. A longer text, Markdown or PDF file becomes
several documents of at most so many.
"""
MAX_PDF = 200_000_000
"""Bytes of a PDF file, which has to be held in memory; a larger one is skipped and said so."""
MAX_BYTES = 2_000_000_000
"""Bytes that one gzipped file may unfold to."""

_FIRST_HEADING = re.compile(r"^# +(\S.*)$|(?<![^\n]\n)^(\w.*)\n={3,}[ \t]*$", re.MULTILINE)
_SURROGATE = re.compile("[\ud800-\udfff]")
_TEXT_COLUMNS = ("text", "content", "body", "passage", "answer", "abstract", "description")


def suffix_of(path: Path) -> str:
    """The suffix that tells the format, lower-cased, that of the gzipped file for ".gz"."""
    inner = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return inner.suffix.lower()


def read_texts(path: Path, advance: Callable[[int], None] | None = None) -> Iterator[Text | Unreadable]:
    """The texts of one file, in order, read a piece at a time where the format allows it. Never raises for what a file holds.

    Encodings: a byte order mark, else UTF-8, else what charset-normalizer finds. `advance` hears of the bytes read from disk.
    Raises OSError where the file cannot be opened.
    """
    reader = _READERS.get(suffix_of(path))
    if reader is None:
        kind = suffix_of(path) or "without suffix"
        yield Unreadable(f"unknown kind {kind}: expected {', '.join(SUFFIXES)}, or one of them with .gz")
        return
    found = False
    try:
        with opened(path, MAX_BYTES, advance) as file:
            for each in reader(file, path):
                found = True
                yield each
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        yield Unreadable(f"damaged gzip: {error}")
        return
    except (TooLarge, UnicodeDecodeError) as error:
        yield Unreadable(str(error))
        return
    if not found:
        yield Unreadable("empty")


def _pieces(file: IO[bytes], path: Path) -> Iterator[str | Unreadable]:
    return pieces(file, MAX_LINE, lambda: characters(path, MAX_BYTES))


def _plain(file: IO[bytes], path: Path) -> Iterator[Text | Unreadable]:
    yield from _numbered(_pieces(file, path))


def _markdown(file: IO[bytes], path: Path) -> Iterator[Text | Unreadable]:
    for found in _numbered(_pieces(file, path)):
        if isinstance(found, Text):
            heading = _FIRST_HEADING.search(found.text)
            found = replace(found, title=(heading[1] or heading[2]).strip() if heading else "")
        yield found


def _numbered(pieces: Iterator[str | Unreadable], title: str = "") -> Iterator[Text | Unreadable]:
    """A file's only piece as the whole file; of several pieces each with its number."""
    first, second = next(pieces, None), next(pieces, None)
    if second is None:
        if first is not None:
            yield first if isinstance(first, Unreadable) else Text(first, title)
        return
    for number, piece in enumerate(chain([first, second], pieces), 1):
        if piece is not None:
            yield piece if isinstance(piece, Unreadable) else Text(piece, title, number=number)


def _html(file: IO[bytes], path: Path) -> Iterator[Text | Unreadable]:
    text = whole(file, MAX_LINE)  # the tree of a page takes many times its size
    yield text if isinstance(text, Unreadable) else page_text(text)


def _pdf(file: IO[bytes], path: Path) -> Iterator[Text | Unreadable]:
    raw = file.read(MAX_PDF + 1)
    if len(raw) > MAX_PDF:
        yield Unreadable(f"a PDF of more than {MAX_PDF:,} bytes")
        return
    paper = pdf_text(raw, MAX_LINE)
    if isinstance(paper, Unreadable):
        yield paper
    else:
        yield from _numbered(iter(paper.parts), paper.title)


def _csv(file: IO[bytes], path: Path) -> Iterator[Text | Unreadable]:
    raw = file.read(4 * MAX_LINE + 1)
    if len(raw) <= 4 * MAX_LINE:
        text = tidy(decode(raw))
        if isinstance(text, Unreadable):
            yield text
        else:
            yield from _table(lambda: nullcontext(io.StringIO(text, newline="")), path)
    else:
        del raw
        yield from _table(lambda: characters(path, MAX_BYTES), path)


def _table(opened: Callable[[], Any], path: Path) -> Iterator[Text | Unreadable]:
    """The rows of a table; `opened()` gives its characters, from the first on, each time."""
    csv.field_size_limit(MAX_LINE)
    with opened() as stream:
        if isinstance(stream, Unreadable):
            yield stream
            return
        try:
            dialect: Any = csv.Sniffer().sniff(stream.read(20_000), ",;\t|")
        except csv.Error:
            dialect = "excel-tab" if suffix_of(path) == ".tsv" else "excel"
    with opened() as stream:
        rows = csv.reader(_lines(stream), dialect)
        try:
            columns = [name.strip() for name in next(rows)]
            names = [name.lower() for name in columns]
            for number, row in enumerate(rows, 2):
                if any(cell.strip() for cell in row):
                    yield _row(columns, names, row, number)
        except csv.Error as error:
            yield Unreadable(f"line {rows.line_num}: {error}")


def _lines(stream: Any) -> Iterator[str]:
    number = 0
    while line := stream.readline(MAX_LINE):
        number += 1
        if len(line) == MAX_LINE and not line.endswith("\n"):
            raise TooLarge(f"line {number}: longer than {MAX_LINE:,} characters")
        yield line


def _row(columns: list[str], names: list[str], row: list[str], number: int) -> Text | Unreadable:
    """The text column of a row, or else all its cells, each after its column's name."""
    fields = dict(zip(names, (cell.strip() for cell in row), strict=False))
    text = next((fields[name] for name in _TEXT_COLUMNS if fields.get(name)), "")
    if not text:
        cells = [f"{name}: {cell.strip()}" for name, cell in zip(columns, row, strict=False) if name and cell.strip()]
        text = ". ".join(cells)
    if not text:
        return Unreadable(f"row {number}: no text")
    title = fields.get("title") or fields.get("name") or ""
    return Text(text, title, fields.get("id", ""), fields.get("url", ""), fields.get("source", ""), number)


def _json_lines(file: IO[bytes], path: Path) -> Iterator[Text | Unreadable]:
    # Split at \n alone, in bytes: U+2028 is allowed inside JSON strings, and one bad line must not cost the file.
    number = 0
    while line := file.readline(4 * MAX_LINE + 1):
        number += 1
        if len(line) > 4 * MAX_LINE and not line.endswith(b"\n"):
            while (rest := file.readline(4 * MAX_LINE)) and not rest.endswith(b"\n"):
                pass
            yield Unreadable(f"line {number}: longer than {4 * MAX_LINE:,} bytes")
            continue
        line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        if line.strip():
            try:
                yield _object(line.decode("utf-8"), number)
            except (
                ValueError,
                RecursionError,
            ) as error:  # undecodable, bad JSON, bad fields; nested beyond the parser's depth
                yield Unreadable(f"line {number}: {_reason(error)}")


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 (byte {error.start} of the line)"
    if isinstance(error, json.JSONDecodeError):
        return f"bad JSON: {error.msg} at character {error.pos}"
    return str(error)


def _object(line: str, number: int) -> Text:
    row = json.loads(line)
    if not isinstance(row, dict):
        raise ValueError(f"expected a JSON object, not {type(row).__name__}")
    if "text" not in row:
        other = next((name for name in _TEXT_COLUMNS if isinstance(row.get(name), str) and row[name].strip()), None)
        if other is None:
            raise ValueError('missing field "text"')
        row = {**row, "text": row[other], "title": row.get("title") or row.get("question") or row.get("name")}
    for key in ("text", "title", "source", "url"):
        if row.get(key) is not None and not isinstance(row[key], str):
            raise ValueError(f'field "{key}" must be a string')
    if isinstance(row.get("id"), bool | float | list | dict):
        raise ValueError('field "id" must be a string or a whole number')
    # A lone surrogate (JSON may escape one) cannot be written as UTF-8 later on.
    clean = {key: _SURROGATE.sub("\ufffd", str(value)) for key, value in row.items() if value is not None}
    if not clean.get("text", "").strip():
        raise ValueError("empty text")
    return Text(
        clean["text"],
        clean.get("title", ""),
        clean.get("id", ""),
        clean.get("url", ""),
        clean.get("source", ""),
        number,
    )


_READERS = {
    ".md": _markdown,
    ".markdown": _markdown,
    ".txt": _plain,
    ".html": _html,
    ".htm": _html,
    ".pdf": _pdf,
    ".csv": _csv,
    ".tsv": _csv,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
}
