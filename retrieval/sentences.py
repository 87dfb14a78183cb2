"""Where English sentences begin and end, as character spans.

Knows pysbd's habits and distrusts them: every span is checked, and text that pysbd garbles or that is too long for it
goes through a plain rule instead. Does not know what a claim, a passage or a document is.
"""

import re
import warnings
from functools import lru_cache

with (
    warnings.catch_warnings()
):  # pysbd 0.3.4 has invalid escapes in plain strings, which newer Pythons warn of while compiling it
    warnings.simplefilter("ignore")
    import pysbd

Span = tuple[int, int]

# pysbd's time grows with the square of its input: 16,000 characters take 120 ms, sixteen blocks of 1,000 take 35 ms.
_BLOCK = 1000

_LINE = re.compile(r"[^\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+")
# A line that ends with one of these, but for closing quotes and the like, ends its sentence.
_ENDS = (".", "!", "?", "…", ":")
_CLOSING = "\"'”’)]*_»"
_MARKER = re.compile(r"\s*(?:[-*+•‣◦–—>]\s+|#{1,6}\s+|\d{1,2}[.)]\s+)*")
# Possessive, and never from inside a run of stops: a hundred thousand dots must not take time in their square.
_STOP = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’)\]]*+\s++(?=[\"'“‘(\[]*+[^\W_])")
_LIST_NUMBER = re.compile(r"\d{1,2}[.)]")
_LAST_WORD = re.compile(r"[\w.]{1,12}$")

# Words whose full stop does not end a sentence. pysbd has its own list; this one serves the plain rule and mends
# pysbd's misses.
_SHORTENED = """
dr mr mrs ms prof st mt ft jr sr gen col lt sgt capt rev hon gov sen rep pres messrs vs viz cf al e.g i.e eg ie approx
ca no nos vol fig figs p pp ed eds inc ltd co corp dept est univ ave blvd rd jan feb mar apr jun jul aug sep sept oct
nov dec mon tue tues wed thu thur thurs fri sat sun
"""
_ABBREVIATIONS = frozenset(_SHORTENED.split())


# Passages and short replies come again and again. Longer texts do not, and would fill the memory.
_CACHED = 4000


@lru_cache(maxsize=4096)
def _remembered(text: str) -> tuple[Span, ...]:
    return _found(text)


def _found(text: str) -> tuple[Span, ...]:
    found: list[Span] = []
    for start, end in _paragraphs(text):
        for block_start, block_end in _blocks(text, start, end):
            found += _segment(text, block_start, block_end)
    return tuple(found)


def _paragraphs(text: str) -> list[Span]:
    """Runs of lines that a sentence may cross, without the markers at their start."""
    paragraphs: list[Span] = []
    before: Span | None = None
    for line in _LINE.finditer(text):
        marker = _MARKER.match(line.group())
        start = line.start() + (marker.end() if marker else 0)
        marked = marker is not None and bool(marker.group().strip())
        if before is not None and not marked and line.group().strip() and _runs_on(text, before, line.start()):
            paragraphs[-1] = (paragraphs[-1][0], line.end())
        else:
            paragraphs.append((start, line.end()))
        before = line.span()
    return paragraphs


def _runs_on(text: str, line: Span, following: int) -> bool:
    """Whether the line was broken for its width alone, so that its last sentence may go on where the next line starts.

    Only a plain line feed or carriage return breaks lines for width; a heading never runs on.
    """
    if text[line[1] : following] not in ("\n", "\r\n", "\r"):
        return False
    written = text[slice(*line)].strip()
    if not written or written.startswith("#"):
        return False
    bare = written.rstrip(_CLOSING)
    if not bare.endswith(_ENDS):
        return True
    return bare.endswith(".") and " " in bare and _abbreviation(bare, 0, len(bare) - 1)


def sentences(text: str) -> list[Span]:
    """The sentences of an English text as (start, end) character spans.

    Spans are in order, do not overlap, are never empty and neither start nor end with white space. A line break ends a
    sentence after a stop, a colon or a heading, before a list mark and at a blank line; other line breaks are taken for
    hard wrapping. Bullets, heading marks and list numbers at the start of a line belong to no sentence. Any string is
    accepted; nothing is raised.
    """
    return list(_remembered(text) if len(text) <= _CACHED else _found(text))


def _trim(text: str, start: int, end: int) -> Span | None:
    """The span without white space at either end, or None when nothing is left."""
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    end -= len(piece) - len(piece.rstrip())
    return (start, end) if start < end else None


def _plain(text: str, start: int, end: int) -> list[Span]:
    """The plain rule: cut after . ! ? … and white space, unless the word before is an abbreviation or an initial."""
    spans: list[Span] = []
    begin = start
    for stop in _STOP.finditer(text, start, end):
        if text[stop.start()] == "." and _abbreviation(text, begin, stop.start()):
            continue
        spans.append((begin, stop.end()))
        begin = stop.end()
    spans.append((begin, end))
    return spans


def _abbreviation(text: str, begin: int, stop: int) -> bool:
    word = _LAST_WORD.search(text[max(begin, stop - 12) : stop])
    if word is None:
        return False
    last = word.group().lower()
    return last in _ABBREVIATIONS or (len(last) == 1 and last.isalpha() and last != "i")


def _blocks(text: str, start: int, end: int) -> list[Span]:
    """A paragraph in pieces that pysbd can take, cut only where the plain rule sees a sentence end."""
    if end - start <= _BLOCK:
        return [(start, end)]
    blocks: list[Span] = []
    for piece_start, piece_end in _plain(text, start, end):
        if blocks and piece_end - blocks[-1][0] <= _BLOCK:
            blocks[-1] = (blocks[-1][0], piece_end)
        else:
            blocks.append((piece_start, piece_end))
    return blocks


def _segment(text: str, start: int, end: int) -> list[Span]:
    """The trimmed sentences of one block: pysbd's where they can be trusted, the plain rule's otherwise."""
    block = text[start:end].replace("\n", " ").replace("\r", " ")  # pysbd ends a sentence at every line break
    if end - start > _BLOCK or not re.search(r"[.!?…]\S*\s", block):
        spans = [(start, end)]
    else:
        spans = _pysbd(block, start) or _plain(text, start, end)
    trimmed = (_trim(text, *span) for span in _mend(text, spans))
    return [span for span in trimmed if span is not None]


def _pysbd(block: str, offset: int) -> list[Span] | None:
    """pysbd's spans moved by offset, or None when they do not tile the block (it drops and reorders odd characters)."""
    try:
        # A segmenter keeps the text it works on, so one shared between threads would mix them up; making one costs
        # microseconds.
        parts = pysbd.Segmenter(language="en", clean=False, char_span=True).segment(block)
    except Exception:  # whatever its regular expressions choke on, the plain rule can still do
        return None
    spans: list[Span] = []
    reached = 0
    for part in parts:
        if part.start < reached or part.end > len(block) or block[reached : part.start].strip():
            return None
        spans.append((offset + part.start, offset + part.end))
        reached = part.end
    return spans if not block[reached:].strip() else None


def _mend(text: str, spans: list[Span]) -> list[Span]:
    """Joins what pysbd cut after an abbreviation it does not know ("approx. 3 km") or a list number ("2. Two")."""
    mended: list[Span] = []
    for start, end in spans:
        if mended:
            before = text[mended[-1][0] : mended[-1][1]].rstrip()
            word = _LAST_WORD.search(before[:-1]) if before.endswith(".") else None
            last = word.group().lower() if word else ""
            following = text[start:end].lstrip()[:1]
            continued = last in _ABBREVIATIONS and (following.islower() or following.isdigit())
            # "the .env file": a stop with no white space after it, and no new sentence either
            continued = continued or (
                mended[-1][1] == start and not text[start - 1].isspace() and not following.isupper()
            )
            if continued or _LIST_NUMBER.fullmatch(before.strip()):
                mended[-1] = (mended[-1][0], end)
                continue
        mended.append((start, end))
    return mended
