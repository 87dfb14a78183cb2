"""Files as bytes and bytes as characters, however large: opening, unfolding, finding the encoding, cutting what is over-long.

Knows gzip and encodings. Does not know what a format means.
"""

import codecs
import gzip
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any


@dataclass(frozen=True)
class Unreadable:
    """What a file holds that could not be read, and why."""

    reason: str


@dataclass(frozen=True)
class Text:
    """A text that a file holds. `id` "" where the file gives none; `number`: of the line, row or page, None for a whole file."""

    text: str
    title: str = ""
    id: str = ""
    url: str = ""
    source: str = ""
    number: int | None = None


class TooLarge(Exception):
    """A file or a line of it is longer than it may be; the message names the limit."""


class _Counted(io.RawIOBase):
    """A stream that tells how many bytes it gives, and refuses to give more than `most`: a small gzip may unfold to anything."""

    def __init__(self, inner: Any, advance: Callable[[int], None] | None = None, most: int | None = None) -> None:
        self.inner, self.advance, self.most, self.given = inner, advance, most, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self.inner.read(len(buffer))
        self.given += len(piece)
        if self.most is not None and self.given > self.most:
            raise TooLarge(f"unfolds to more than {self.most:,} bytes")
        if self.advance is not None:
            self.advance(len(piece))
        buffer[: len(piece)] = piece
        return len(piece)


@contextmanager
def opened(path: Path, most: int, advance: Callable[[int], None] | None = None) -> Iterator[IO[bytes]]:
    """A file's bytes, unfolded where it is gzipped, to at most `most`. `advance` hears of the bytes read from disk.

    Raises OSError; while reading `TooLarge`, EOFError, zlib.error, gzip.BadGzipFile.
    """
    with path.open("rb") as raw:
        counted = io.BufferedReader(_Counted(raw, advance))
        if path.suffix.lower() != ".gz":
            yield counted
            return
        with gzip.GzipFile(fileobj=counted) as unfolded:
            yield io.BufferedReader(_Counted(unfolded, most=most))


def whole(file: IO[bytes], most: int) -> str | Unreadable:
    """The text of a file of at most `most` bytes."""
    raw = file.read(most + 1)
    if len(raw) > most:
        return Unreadable(f"larger than {most:,} bytes in one piece")
    return tidy(decode(raw))


def tidy(text: str | Unreadable) -> str | Unreadable:
    """Plain line ends; nothing but white space is Unreadable."""
    if isinstance(text, Unreadable):
        return text
    return text.replace("\r\n", "\n") if text.strip() else Unreadable("empty")


def pieces(file: IO[bytes], most: int, again: Callable[[], Any]) -> Iterator[str | Unreadable]:
    """The text of a file of any size: whole, or, above `most` characters, in pieces of at most so many, cut at a line's end or else
    at white space. `again()` opens the file's characters anew (see `characters`).
    """
    raw = file.read(4 * most + 1)
    text = tidy(decode(raw)) if len(raw) <= 4 * most else None
    if isinstance(text, Unreadable) or (text is not None and len(text) <= most):
        yield text
        return
    del raw, text
    with again() as stream:
        if isinstance(stream, Unreadable):
            yield stream
            return
        left = ""
        while read := stream.read(most - len(left)):
            left += read
            if len(left) < most:
                continue
            cut = left.rfind("\n") + 1 or left.rfind(" ") + 1 or len(left)
            if left[:cut].strip():
                yield left[:cut]
            left = left[cut:]
        if left.strip():
            yield left


@contextmanager
def characters(path: Path, most: int) -> Iterator[Any]:
    """A file too large to be decoded at once as a stream of characters, or an Unreadable. `most`: see `opened`."""
    with opened(path, most) as file:
        encoding = _encoding(file)
    if isinstance(encoding, Unreadable):
        yield encoding
        return
    with opened(path, most) as file, io.TextIOWrapper(file, encoding) as stream:
        yield stream


def _encoding(file: IO[bytes]) -> str | Unreadable:
    """As `decode` finds it, reading a large file piece by piece."""
    first = file.read(1_000_000)
    for mark, encoding in _MARKS:
        if first.startswith(mark):
            return {"utf-8": "utf-8-sig", "utf-32-le": "utf-32", "utf-32-be": "utf-32"}.get(encoding, "utf-16")
    decoder = codecs.getincrementaldecoder("utf-8")()
    piece = first
    while piece:
        if b"\0" in piece:
            return Unreadable("binary, or text that is not UTF-8")
        try:
            decoder.decode(piece)
        except UnicodeDecodeError:
            from charset_normalizer import from_bytes

            best = from_bytes(first).best()
            return best.encoding if best else Unreadable("not UTF-8, and no other encoding fits")
        piece = file.read(1_000_000)
    return "utf-8"


def decode(raw: bytes) -> str | Unreadable:
    """Bytes as text: by a byte order mark, as UTF-8, or as charset-normalizer guesses. Bytes with NUL in them are no text."""
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            try:
                return raw[len(mark) :].decode(encoding)
            except UnicodeDecodeError as error:
                return Unreadable(f"not {encoding} (byte {error.start + len(mark)}), though its first bytes say so")
    if b"\0" in raw:
        return Unreadable("binary, or text that is not UTF-8")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        from charset_normalizer import from_bytes

        best = from_bytes(raw[:1_000_000]).best()
        if best is None:
            return Unreadable(f"not UTF-8 (byte {error.start}), and no other encoding fits")
        try:
            return raw.decode(best.encoding)
        except UnicodeDecodeError:
            return Unreadable(f"not UTF-8 (byte {error.start}), nor {best.encoding} as its beginning suggests")


_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
