"""What of a reply is borne out: each claim looked up in the corridor's index, and whether its citations are true to their passages.

Knows replies and their grounding. Does not know questions nor figures.
"""

from typing import Any

from retrieval import Citation, Grounding, Index, ground
from service.chat import Corridor
from service.decisions import Reply
from service.research import ToolPassage


def reply_row(reply: Reply, corridor: Corridor, question: str) -> dict[str, Any]:
    """A reply with its claims, each with its support, and how many of its citations are invented. A reply that nobody looked up is
    looked up here; a fallback makes no claims.
    """
    grounding = reply.grounding
    if grounding is None and reply.finish_reason != "content_filter":
        grounding = looked_up(reply.text, corridor, question, reply.finish_reason == "length")
    return {
        "reply": reply.text,
        "finish_reason": reply.finish_reason,
        "claims": claim_rows(grounding) if grounding else [],
        "invented": sum(_invented(c, reply.text, corridor.index) for c in (reply.grounding or Grounding(())).citations),
    }


def looked_up(text: str, corridor: Corridor, question: str, cut_off: bool = False) -> Grounding:
    """Every claim of a text against the corridor's index, judged as the corridor judges its own."""
    return ground(
        text,
        corridor.index,
        question,
        threshold=corridor.support_threshold,
        scorer=corridor.support,
        cut_off=cut_off,
    )


def claim_rows(grounding: Grounding) -> list[dict[str, Any]]:
    """Text, label, support and what is cited, of each claim."""
    return [
        {
            "text": claim.text,
            "label": claim.label,
            "support": round(claim.support, 4),
            "documents": [c.quote.passage.document_id for c in claim.citations],
            "quotes": [c.quote.text for c in claim.citations],
        }
        for claim in grounding.claims
    ]


def _invented(citation: Citation, reply: str, index: Index) -> bool:
    """Whether law 4 is broken: no such passage, other words at the quote's place, or a span outside the reply."""
    quote, passage = citation.quote, citation.quote.passage
    verbatim = passage.text[quote.start - passage.start : quote.end - passage.start] == quote.text
    placed = citation.end <= len(reply) and reply[citation.start : citation.end] == citation.claim
    try:
        known = isinstance(passage, ToolPassage) or index.passage(passage.id) == passage
    except KeyError:
        known = False
    return not (known and verbatim and placed)
