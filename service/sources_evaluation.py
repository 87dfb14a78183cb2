"""The sources suite: questions about a corpus through the whole corridor, without sources, with them, and with research.

Knows which figure answers what. A suite's rows are kept in a file line by line, so that a killed run goes on; sentences that were
judged by hand are read from `data/grounding/judged.jsonl`, where there are any.

LaMDA's definitions (Thoppilan et al., 2022, 4.2): groundedness is the share of replies with claims whose claims are all supported,
informativeness the same count over all replies. Citation accuracy here is stricter than theirs: of the citations, the share that a
person found to bear their sentence out.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from classifiers.metrics import Estimate, estimate
from retrieval import Citation, Grounding, Index, ground
from service.chat import Corridor, Wants
from service.decisions import Reply
from service.evidence import question_of
from service.generator import Message, Sampling
from service.research import ToolPassage

MODES = ("off", "cite", "research")
ANSWERED_BY_CORPUS = ("answerable", "follow_up", "two_documents")


@dataclass(frozen=True)
class Question:
    """A question about the corpus with the turns before it. `documents`: ids that answer it, maybe none."""

    id: str
    kind: str
    messages: tuple[Message, ...]
    documents: frozenset[str]


def read_questions(path: Path, most: int | None = None) -> list[Question]:
    """The questions of a JSON Lines file; at most so many, evenly from each kind. Raises ValueError naming line and field."""
    found: list[Question] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        row = json.loads(line)
        for name in ("id", "question", "kind"):
            if not isinstance(row.get(name), str):
                raise ValueError(f"{path.name}:{number}: field {name!r} must be a text")
        messages = (*row.get("earlier", []), {"role": "user", "content": row["question"]})
        found.append(Question(row["id"], row["kind"], messages, frozenset(row.get("documents", []))))
    if most is None or most >= len(found):
        return found
    place: dict[str, int] = {}
    ranked = []
    for question in found:
        place[question.kind] = place.get(question.kind, 0) + 1
        size = sum(q.kind == question.kind for q in found)
        ranked.append((place[question.kind] / size, question.id, question))
    kept = {question.id for _, _, question in sorted(ranked, key=lambda r: r[:2])[:most]}
    return [question for question in found if question.id in kept]


def answer_all(
    corridor: Corridor,
    questions: Sequence[Question],
    modes: Sequence[str],
    candidates: int,
    seed: int,
    kept: Path,
    progress: Callable[[int], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """A row for each question and mode: the reply, its claims and citations. Rows of the same settings that `kept` already holds
    are taken from there; each new one is added as soon as it is known.
    """
    versions = {
        "model": corridor.generator.name,
        **corridor.versions(),
        "seed": seed,
        "candidates": candidates,
    }
    done: dict[tuple[str, str], dict[str, Any]] = {}
    if kept.is_file():
        for line in kept.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row["versions"] == versions:
                done[row["id"], row["mode"]] = row
    kept.parent.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    with kept.open("a", encoding="utf-8") as file:
        for question in questions:
            for mode in modes:
                row = done.get((question.id, mode))
                if row is None:
                    wants = Wants(candidates=candidates, sampling=Sampling(max_tokens=64), seed=seed, grounding=mode)
                    decision = corridor.reply(question.messages, wants)
                    row = {
                        "id": question.id,
                        "kind": question.kind,
                        "mode": mode,
                        **reply_row(decision.replies[0], corridor, question_of(question.messages)),
                        "seconds": round(sum(decision.seconds.values()), 2),
                        "versions": versions,
                    }
                    print(json.dumps(row, ensure_ascii=False), file=file, flush=True)
                rows.append({**row, "gold": sorted(question.documents)})
                progress(1)
    return rows


def figures(rows: Sequence[dict[str, Any]], judged: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Every figure by mode, and those of the hand-labelled sentences."""
    report: dict[str, Any] = {"modes": {}, "hand": hand_figures(judged)}
    for mode in dict.fromkeys(row["mode"] for row in rows):
        report["modes"][mode] = _mode_figures([row for row in rows if row["mode"] == mode])
    return report


def hand_figures(judged: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of sentences that a person judged: the share of citations that bear their sentence out, and of replies with citations whose
    claims are all borne out by the corpus; the same where every claim is cited, as `ungrounded: drop` would have it.

    A line: {"id", "mode", "sentence", "claim": bool, "cited": bool, "right": bool}; `right`: the cited words bear the sentence out,
    or, where nothing is cited, whether the corpus does.
    """
    cited = [row for row in judged if row["cited"]]
    replies: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in judged:
        replies.setdefault((row["id"], row["mode"]), []).append(row)
    with_citation = {key: found for key, found in replies.items() if any(row["cited"] for row in found)}
    wholly = {key: found for key, found in with_citation.items() if all(row["cited"] for row in found)}

    def grounded(chosen: dict[tuple[str, str], list[dict[str, Any]]]) -> dict[str, Any]:
        right = [all(row["right"] for row in found if row["claim"]) for found in chosen.values()]
        return _share(right, [key[0] for key in chosen])

    return {
        "sentences": len(judged),
        "citation_accuracy": _share([row["right"] for row in cited], [row["id"] for row in cited]),
        "groundedness_of_cited_replies": grounded(with_citation),
        "groundedness_where_all_is_cited": grounded(wholly),
    }


def _mode_figures(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    ids = [row["id"] for row in rows]
    claims = [i for i, row in enumerate(rows) if row["claims"]]
    whole = [bool(row["claims"]) and all(c["label"] == "supported" for c in row["claims"]) for row in rows]
    citing = [i for i in claims if any(c["documents"] for c in rows[i]["claims"])]
    gold = [i for i in citing if rows[i]["gold"]]
    told = [i for i, row in enumerate(rows) if row["kind"] in ANSWERED_BY_CORPUS]
    return {
        "replies": len(rows),
        "answered": _share([row["finish_reason"] != "content_filter" for row in rows], ids),
        "groundedness": _share([whole[i] for i in claims], [ids[i] for i in claims]),
        "informativeness": _share(whole, ids),
        "replies_that_cite": _share([i in set(citing) for i in claims], [ids[i] for i in claims]),
        "cites_a_gold_document": _share(
            [any(set(c["documents"]) & set(rows[i]["gold"]) for c in rows[i]["claims"]) for i in gold],
            [ids[i] for i in gold],
        ),
        "answerable_and_cited": _share([i in set(citing) for i in told], [ids[i] for i in told]),
        "invented_citations": sum(row["invented"] for row in rows),
        "seconds": float(np.median([row["seconds"] for row in rows])) if rows else None,
    }


def _share(hits: Sequence[bool], groups: Sequence[str]) -> dict[str, Any]:
    def mean(_: Any, values: Any) -> float:
        return float(values.mean())

    found: Estimate = estimate(mean, [True] * len(hits), [float(hit) for hit in hits], list(groups))
    return found.as_dict()


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
    placed = reply[citation.start : citation.end] == citation.claim
    try:
        known = isinstance(passage, ToolPassage) or index.passage(passage.id) == passage
    except KeyError:
        known = False
    return not (known and verbatim and placed)


ROWS = (
    ("answered", "replies that are no fallback"),
    ("groundedness", "groundedness: replies with claims whose claims are all supported"),
    ("informativeness", "informativeness: the same, of all replies"),
    ("replies_that_cite", "replies with claims that cite a source"),
    ("answerable_and_cited", "replies to questions that the corpus answers that cite a source"),
    ("cites_a_gold_document", "of those that cite, where gold documents are known: one of them is cited"),
)


def print_figures(report: dict[str, Any], out: Console) -> None:
    """The figures as tables, with n and 95% intervals."""
    modes = report["modes"]
    table = Table(title="sources, by mode (support as the classifier judges it; 95% intervals)")
    table.add_column("measure")
    for mode in modes:
        table.add_column(mode, justify="right")
    for key, name in ROWS:
        table.add_row(name, *(_cell(found[key]) for found in modes.values()))
    table.add_row("invented citations", *(str(found["invented_citations"]) for found in modes.values()))
    table.add_row("replies", *(str(found["replies"]) for found in modes.values()))
    table.add_row("seconds a reply, median", *(f"{found['seconds']:.1f}" for found in modes.values()))
    out.print(table)
    hand = report["hand"]
    if not hand["sentences"]:
        return
    table = Table(title=f"judged by hand: {hand['sentences']} sentences of replies")
    table.add_column("measure")
    table.add_column("figure", justify="right")
    table.add_row("citation accuracy: the cited words bear the sentence out", _cell(hand["citation_accuracy"]))
    table.add_row("groundedness of replies that cite", _cell(hand["groundedness_of_cited_replies"]))
    table.add_row("the same, every claim cited (`ungrounded: drop`)", _cell(hand["groundedness_where_all_is_cited"]))
    out.print(table)


def _cell(figure: dict[str, Any]) -> str:
    if figure["value"] is None:
        return "-"
    return f"{figure['value']:.3f} [dim]{figure['low']:.2f}–{figure['high']:.2f}, n {figure['n']}[/]"
