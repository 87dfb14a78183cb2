"""What web pages and PDF files say to a reader: HTML and PDF in, plain text with its headings out.

Does not know files, sizes or encodings.
"""

import io
import re
import warnings
from dataclasses import dataclass

from retrieval.streams import Text, Unreadable

_SURROGATE = re.compile("[\ud800-\udfff]")
_BLOCK_NAMES = """
address article aside blockquote br dd details div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 header hr li main
nav ol p pre section summary table tbody td tfoot th thead tr ul
"""
_BLOCKS = frozenset(_BLOCK_NAMES.split())
_UNREAD = ("script", "style", "noscript", "template", "svg", "nav", "header", "footer", "form", "head", "title")


def page_text(html: str) -> Text | Unreadable:
    """What a page says, without scripts, styles and navigation; a line for each block, "# " before its headings."""
    from bs4 import BeautifulSoup, NavigableString, Tag
    from bs4.element import PreformattedString

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a text looks like a file name or like XML is nothing to tell anyone
        soup = BeautifulSoup(html, "html.parser")
    title = soup.title.get_text(" ", strip=True) if soup.title else ""
    for tag in soup.find_all(_UNREAD):
        tag.decompose()
    lines: list[str] = [""]
    for node in (soup.body or soup).descendants:
        if isinstance(node, Tag):
            if node.name in _BLOCKS:
                lines.append("#" * int(node.name[1]) + " " if re.fullmatch("h[1-6]", node.name) else "")
        elif isinstance(node, NavigableString) and not isinstance(node, PreformattedString):
            lines[-1] += str(node)
            if node.parent is not None and node.parent.name in _BLOCKS and node.next_sibling is None:
                lines.append("")
    kept = [" ".join(line.split()) for line in lines]
    text = "\n\n".join(line for line in kept if line.strip("# "))
    if not text:
        return Unreadable("a page without text")
    heading = re.search(r"^# (.+)$", text, flags=re.MULTILINE)
    return Text(text, title or (heading.group(1) if heading else ""))


@dataclass(frozen=True)
class Paper:
    """A PDF's title ("" when it has none) and its text, in parts where it is long."""

    title: str
    parts: tuple[str, ...]


def pdf_text(raw: bytes, most: int) -> Paper | Unreadable:
    """What a PDF says, its lines joined; parts of whole pages with at most `most` characters each, or of one longer page."""
    from pypdf import PdfReader

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader = PdfReader(io.BytesIO(raw))
            if reader.is_encrypted and not reader.decrypt(""):
                return Unreadable("encrypted: a password is needed")
            title = _SURROGATE.sub("\ufffd", str((reader.metadata.title if reader.metadata else "") or "")).strip()
            parts: list[str] = []
            for page in reader.pages:
                said = _SURROGATE.sub("\ufffd", _unbroken(page.extract_text() or "").strip())
                if not said:
                    continue
                if not parts or len(parts[-1]) + len(said) > most:
                    parts.append(said)
                else:
                    parts[-1] += "\n\n" + said
    except Exception as error:  # pypdf raises many kinds for what a file holds
        return Unreadable(f"not a readable PDF: {type(error).__name__}: {error}"[:200])
    if not parts:
        return Unreadable("a PDF without text: scanned pages need reading by machine first")
    return Paper(title, tuple(parts))


def _unbroken(page: str) -> str:
    """A page with its lines joined: the width of the paper ends no sentence. A word divided at a line's end is made whole."""
    page = re.sub(r"(?<=[^\W\d_])-\n(?=[a-z])", "", page)
    return re.sub(r"(?<![.!?:;\n])\n(?!\n|[-*•\d])", " ", page)
