"""Grounding people's own text: a line of JSON in, its claims with citations and support out. The rows of `winnow ground`.

Knows the format of both lines. What a claim is and what bears it out is known in `retrieval`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from retrieval import Citation, Claim, Document, Index, SupportScorer, ground
from service.batch import BadLine, json_lines
from service.evidence import question_of
from service.quoting import link, plain, title_of
from service.requests import MAX_SOURCES


def read_texts(path: Path) -> Iterator[dict[str, Any]]:
    """The checked lines of a JSON Lines file; a file of another suffix is one text. Raises `BadLine`, FileNotFoundError."""
    if path.suffix.lower() == ".jsonl":
        for where, row in json_lines(path):
            yield _checked(row, where)
        return
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadLine(f"{path.name}: not UTF-8 (byte {error.start})") from error
    yield _checked({"id": path.name, "text": text}, path.name)


def ground_line(
    line: Mapping[str, Any],
    index: Index,
    threshold: float,
    all_sentences: bool = False,
    scorer: SupportScorer | None = None,
) -> dict[str, Any]:
    """Every claim of the line's text with its best support, in [0, 1], its label and its citation.

    `sources` of the line replace the index; the user's last turns, if `messages` end with them, are the question that the text
    answers. `support`: of the weakest claim; `groundedness`: share of the claims that are supported; both None without claims
    (law 5). `scorer`: the trained judge of support; without one, shared words decide.
    """
    sources = line.get("sources")
    searched = _index_of(sources) if sources is not None else index
    found = ground(
        line["text"],
        searched,
        question_of(line.get("messages") or []),
        threshold=threshold,
        k=max(5, len(sources or [])),
        all_sentences=all_sentences,
        scorer=scorer,
    )
    return {
        "id": line.get("id"),
        "claims": [_row(claim) for claim in found.claims],
        "support": found.support,
        "groundedness": found.score,
    }


def citation_url(citation: Citation) -> str:
    """The document's own web address, else a name for it in the local corpus."""
    return link(citation.quote.passage.url, citation.quote.passage.document_id)


def citation_row(citation: Citation) -> dict[str, Any]:
    """A citation's quote with its place in the document."""
    passage = citation.quote.passage
    return {
        "document": passage.document_id,
        "passage": passage.id,
        "title": title_of(passage.title),
        "heading": plain(passage.heading),
        "url": citation_url(citation),
        "source": plain(passage.source),
        "quote": {"text": citation.quote.text, "start": citation.quote.start, "end": citation.quote.end},
        "support": round(citation.score, 4),
        "bm25": round(citation.bm25, 4),
    }


def source_rows(claim: Claim) -> list[dict[str, Any]]:
    """What bears a claim out: its citations, or the calculator's own result."""
    if claim.calculation is not None and claim.calculation.right:
        found = claim.calculation
        return [{"tool": "calculator", "input": found.calculation, "output": found.computed, "support": 1.0}]
    return [citation_row(citation) for citation in claim.citations]


def _row(claim: Claim) -> dict[str, Any]:
    return {
        "text": claim.text,
        "start": claim.start,
        "end": claim.end,
        "support": claim.support,
        "label": claim.label,
        "citations": source_rows(claim),
    }


def _index_of(sources: list[str]) -> Index:
    return Index.build(Document(f"source-{number}", "", text) for number, text in enumerate(sources, 1))


def _checked(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise BadLine(f"{where}: a line must be a JSON object")
    if not isinstance(row.get("text"), str):
        raise BadLine(f"{where}: field 'text' must be a text")
    messages, sources = row.get("messages"), row.get("sources")
    if messages is not None and not (
        isinstance(messages, list)
        and all(isinstance(m, dict) and isinstance(m.get("content"), str) and "role" in m for m in messages)
    ):
        raise BadLine(f"{where}: field 'messages' must be a list of turns with a role and a text content")
    if sources is not None and not (isinstance(sources, list) and all(isinstance(s, str) for s in sources)):
        raise BadLine(f"{where}: field 'sources' must be a list of texts")
    if sources is not None and len(sources) > MAX_SOURCES:
        raise BadLine(f"{where}: field 'sources' has {len(sources)} texts; the limit is {MAX_SOURCES}")
    return row
