"""Where sentences begin and end, roughly: to say which one decided a verdict, and to read a long text a few at a time.

Knows stops and line breaks. A sentence cut wrongly costs nothing here, so that a plain rule serves; citations, which quote
sentences, have their own (`retrieval/sentences.py`).
"""

import re

Span = tuple[int, int]
"""(start, end) in characters."""

# Possessive, and never from inside a run: a hundred thousand stops must not take time in their square.
_END = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’)\]]*+\s++|[。！？]++\s*+|[\n\r]++\s*+")


def sentences(text: str) -> list[Span]:
    """The sentences of a text in order, without the white space between them; together they hold every other character."""
    found: list[Span] = []
    start = 0
    for end in [match.end() for match in _END.finditer(text)] + [len(text)]:
        piece = text[start:end]
        if piece.strip():
            found.append((start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())))
        start = end
    return found
