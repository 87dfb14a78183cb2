"""Where English sentences begin and end, as character spans.

Knows lines and paragraphs; inside one it asks sentencex, and mends what that cuts wrongly. Does not know what a claim, a
passage or a document is.
"""

import re
from functools import lru_cache
from itertools import islice, pairwise

from sentencex import get_sentence_boundaries

Span = tuple[int, int]

# sentencex's time grows with the square of its input where every stop stands in a quotation of its own: 100,000 characters
# in one piece take 3.5 s, twenty-five blocks of 4,000 take 0.15 s.
_BLOCK = 4000

_LINE = re.compile(r"[^\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+")
# A line across the page, or under a heading.
_RULE = re.compile(r"\s*([=\-*_~])\1*\s*")
# A line that ends with one of these, but for closing quotes and the like, ends its sentence.
_ENDS = (".", "!", "?", "…", ":")
_CLOSING = "\"'”’)]*_»"
_MARKER = re.compile(r"\s*(?:[-*+•‣◦–—>]\s+|#{1,6}\s+|\d{1,2}[.)]\s+)*")
# Possessive, and never from inside a run of stops: a hundred thousand dots must not take time in their square.
_STOP = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’)\]]*+\s++(?=[\"'“‘(\[]*+[^\W_])")
# Half a surrogate pair is no text to sentencex; and where the number of a note stands after a stop, "it was.3 Then", it sees
# no end.
_HIDDEN = re.compile(r"[\ud800-\udfff]|(?<=[^\W\d_][^\W\d_][.!?])\d{1,2}(?=\s+[^\W\d_a-z])")
_BRACKET = re.compile(r"[()]")
_INNER_STOP = re.compile(r"[.!?…]")
_LAST_STOP = re.compile(r"[.!?…][\"'”’]?$")
_NEXT = re.compile(r"\s+[\"'“‘(\[]*[^\W\d_a-z]|\s*$")
_LIST_NUMBER = re.compile(r"\d{1,2}[.)]")
_LAST_WORD = re.compile(r"[\w.]{1,12}$")

# Words whose full stop does not end a sentence. sentencex has its own list; this one says where a block may end, and mends
# sentencex's misses.
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
        if _RULE.fullmatch(line.group()):
            continue
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
    hard wrapping. Bullets, heading marks and list numbers at the start of a line belong to no sentence, nor does a line of
    --- or ===. Any string is accepted; nothing is raised.
    """
    return list(_remembered(text) if len(text) <= _CACHED else _found(text))


def _trim(text: str, start: int, end: int) -> Span | None:
    """The span without white space at either end, or None when nothing is left."""
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    end -= len(piece) - len(piece.rstrip())
    return (start, end) if start < end else None


def _abbreviation(text: str, begin: int, stop: int) -> bool:
    word = _LAST_WORD.search(text[max(begin, stop - 12) : stop])
    if word is None:
        return False
    last = word.group().lower()
    return last in _ABBREVIATIONS or (len(last) == 1 and last.isalpha() and last != "i")


def _blocks(text: str, start: int, end: int) -> list[Span]:
    """A paragraph in pieces of at most _BLOCK characters that end where a sentence seems to end: after . ! ? … and white
    space, and not after an abbreviation or an initial if that can be helped. Where there is no stop, a piece is longer.
    """
    blocks: list[Span] = []
    while end - start > _BLOCK:
        stops = list(_STOP.finditer(text, start, start + _BLOCK)) or list(islice(_STOP.finditer(text, start, end), 1))
        sure = [each for each in stops if text[each.start()] != "." or not _abbreviation(text, start, each.start())]
        cut = (sure or stops)[-1].end() if stops else end
        blocks.append((start, cut))
        start = cut
    return [*blocks, (start, end)]


def _segment(text: str, start: int, end: int) -> list[Span]:
    """The trimmed sentences of one block; one that is too long for sentencex is taken for a single sentence."""
    ends = [end]
    if end - start <= _BLOCK:
        shown = _shown(text[start:end])
        ends = []
        for each in get_sentence_boundaries("en", shown):
            reached = len(shown[: each["end_index"]].rstrip())
            while shown[reached : reached + 1] == " " and text[start + reached] in ")0123456789":
                reached += 1
            ends.append(start + reached)
    spans = (_trim(text, *span) for span in pairwise([start, *ends]))
    return _mend(text, [span for span in spans if span is not None])


def _shown(block: str) -> str:
    """What sentencex is to see of a block: every character in its place, some as others.

    Of brackets only those around a stop inside a sentence, "(born c. 340 in Pergamon)". It takes all else from a bracket to
    the next closing one for part of one sentence, even where the first was never closed, and "2)" for a list mark, whose
    item it does not cut.
    """
    block = _HIDDEN.sub(lambda found: " " * len(found.group()), block)
    shown = list(block)
    opened: list[int] = []
    for bracket in _BRACKET.finditer(block):
        at = bracket.start()
        if block[at] == "(":
            opened.append(at)
            shown[at] = " "
            continue
        first = opened.pop() if opened else at
        if _whole(block[first + 1 : at]) and _NEXT.match(block, at + 1):
            shown[at] = " "
        elif _INNER_STOP.search(block, first, at):
            shown[first] = "("
        else:
            shown[at] = "x"  # part of the word before, so that a stop after it is one
    return "".join(shown)


def _whole(inner: str) -> bool:
    """Whether what stands in brackets is a sentence of its own, or several."""
    return inner.lstrip("\"'“‘")[:1].isupper() and _LAST_STOP.search(inner[-2:]) is not None


def _mend(text: str, spans: list[Span]) -> list[Span]:
    """Joins what sentencex cut after an abbreviation it does not know ("approx. 3 km") or a list number ("2. Two")."""
    mended: list[Span] = []
    for start, end in spans:
        if mended:
            before = text[slice(*mended[-1])]
            word = _LAST_WORD.search(before[:-1]) if before.endswith(".") else None
            last = word.group().lower() if word else ""
            following = text[start]
            continued = last in _ABBREVIATIONS and (following.islower() or following.isdigit())
            if continued or _LIST_NUMBER.fullmatch(before):
                mended[-1] = (mended[-1][0], end)
                continue
        mended.append((start, end))
    return mended
