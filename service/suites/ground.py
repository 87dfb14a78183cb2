"""The suite *ground*: questions about the corpus, without sources, with them, and with research; are the replies borne out?

Knows which figure answers what. How a reply's claims are looked up is in `looking_up.py`.

LaMDA's definitions (Thoppilan et al., 2022, 4.2): groundedness is the share of replies with claims whose claims are all supported,
informativeness the same count over all replies, citation accuracy the share of replies with claims that cite a source. Whether what
is cited bears the sentence out, they asked people: `data/grounding/judged.jsonl` holds such answers, where there are any.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data import GROUNDING
from service.evidence import question_of
from service.suites.asking import QUESTIONS, Question, read_questions
from service.suites.base import Metric, Row, mean_of
from service.suites.looking_up import claim_rows, looked_up, reply_row
from service.suites.model import Answer
from service.suites.run import Run

JUDGED = GROUNDING / "judged.jsonl"
WHOLE, QUICK = 12, 2
"""Questions of a run, evenly from each kind, where it does not say how many."""

ANSWERED_BY_CORPUS = ("answerable", "follow_up", "two_documents")
MODES = ("off", "cite", "research")
QUICK_MODES = ("off", "cite")
ENDPOINT_MODES = ("cite",)
"""An endpoint is asked once, as its clients ask it."""

MAX_TOKENS = 64
HAND = "by hand"
"""The mode of the rows that are no reply, but a sentence with a person's judgement of it."""


class Ground:
    """A case is a question in one mode, or a sentence that was judged by hand."""

    name = "ground"
    title = "Are replies borne out by their sources, and do they cite them?"
    batch = 1

    def cases(self, run: Run) -> list[Row]:
        """Raises ValueError naming file, line and field where a line cannot be used."""
        modes = ENDPOINT_MODES if not run.local else QUICK_MODES if run.quick else MODES
        asked = [
            {
                "id": f"{question.id}/{mode}",
                "question": question.id,
                "kind": question.kind,
                "mode": mode,
                "messages": [dict(message) for message in question.messages],
                "gold": sorted(question.documents),
            }
            for question in _asked(run)
            for mode in modes
        ]
        return asked + _judged(JUDGED)

    def judge(self, cases: Sequence[Row], run: Run) -> list[Row]:
        """A reply, its claims with their support, whether it cites, how many citations are invented (None of an endpoint, whose
        passages are not known).
        """
        return [case if case["mode"] == HAND else _answered(case, run) for case in cases]

    def metrics(self, rows: Sequence[Row]) -> list[Metric]:
        """Each figure by mode, the mode before it as its baseline; then those of the sentences that were judged by hand."""
        modes = [mode for mode in MODES if any(row["mode"] == mode for row in rows)]
        found: list[Metric] = []
        for place, mode in enumerate(modes):
            found += _of_mode(mode, "".join(modes[place + 1 : place + 2]))
        if any(row["mode"] == HAND for row in rows):
            found += _by_hand()
        return found


def _asked(run: Run) -> list[Question]:
    return read_questions(QUESTIONS, run.questions or (QUICK if run.quick else WHOLE))


def _judged(path: Path) -> list[Row]:
    """A line: {"id", "mode", "sentence", "claim": bool, "cited": bool, "right": bool}; `right`: the cited words bear the sentence
    out, or, where nothing is cited, whether the corpus does.
    """
    rows: list[Row] = []
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, 1):
        row = json.loads(line)
        for name in ("claim", "cited", "right"):
            if not isinstance(row.get(name), bool):
                raise ValueError(f"{path.name}:{number}: field {name!r} must be true or false")
        reply = {"question": row["id"], "of_mode": row["mode"]}
        rows.append({**row, "id": f"hand/{number}", "mode": HAND, **reply})
    return rows


def _answered(case: Row, run: Run) -> Row:
    # The same draw in every mode of a question, so that modes differ by what they do alone.
    answer = run.model.answer(case["messages"], MAX_TOKENS, run.seed_of(case["question"]), case["mode"])
    return {
        **case,
        **_looked_at(answer, run, question_of(case["messages"])),
        "seconds": round(answer.seconds, 3),
    }


def _looked_at(answer: Answer, run: Run, question: str) -> dict[str, Any]:
    if answer.decision is None:
        fallback = answer.finish_reason == "content_filter"
        return {
            "reply": answer.text,
            "finish_reason": answer.finish_reason,
            "claims": []
            if fallback
            else claim_rows(looked_up(answer.text, run.corridor, question, answer.finish_reason == "length")),
            "invented": None,
            "cited": None,
            "cites": bool(answer.sources),
        }
    reply = answer.decision.replies[0]
    cited = {c.quote.passage.document_id for c in reply.grounding.citations} if reply.grounding else set()
    return {**reply_row(reply, run.corridor, question), "cited": sorted(cited), "cites": bool(cited)}


def _of_mode(mode: str, after: str) -> list[Metric]:
    def metric(
        name: str,
        of: Callable[[Sequence[Row]], float | None],
        rows: Callable[[Row], bool] = lambda row: True,
        unit: str = "share",
        better: str = "higher",
        target: str = "",
    ) -> Metric:
        return Metric(
            f"{mode}: {name}",
            of,
            lambda row: row["mode"] == mode and rows(row),
            group=_question,
            unit=unit,
            better=better,
            beside=f"{after}: {name}" if after else "",
            target=target,
        )

    return [
        metric("groundedness", mean_of(_whole), _claims),
        metric("informativeness", mean_of(_whole)),
        metric("citation accuracy", mean_of(lambda row: row["cites"]), _claims),
        metric("a gold document is cited", mean_of(_gold), lambda row: bool(row["cites"] and row["gold"])),
        metric("answered", mean_of(lambda row: row["finish_reason"] != "content_filter")),
        metric(
            "answerable questions answered with a source",
            mean_of(lambda row: row["cites"]),
            lambda row: row["kind"] in ANSWERED_BY_CORPUS,
        ),
        metric(
            "invented citations", _invented, lambda row: row["invented"] is not None, "count", "lower", target="= 0"
        ),
        metric("seconds a reply, median", _median_seconds, unit="seconds", better="lower"),
    ]


def _by_hand() -> list[Metric]:
    def by_hand(row: Row) -> bool:
        return bool(row["mode"] == HAND)

    return [
        Metric(
            "by hand: citations that bear their sentence out",
            mean_of(lambda row: row["right"]),
            lambda row: by_hand(row) and row["cited"],
            group=_question,
        ),
        Metric("by hand: groundedness of replies that cite", _grounded_by_hand(any), by_hand, group=_question),
        Metric("by hand: groundedness where every claim is cited", _grounded_by_hand(all), by_hand, group=_question),
    ]


def _claims(row: Row) -> bool:
    return bool(row["claims"])


def _whole(row: Row) -> bool:
    return _claims(row) and all(claim["label"] == "supported" for claim in row["claims"])


def _gold(row: Row) -> bool | None:
    return None if row["cited"] is None else bool(set(row["cited"]) & set(row["gold"]))


def _question(row: Row) -> str:
    return str(row["question"])


def _invented(rows: Sequence[Row]) -> float | None:
    return float(sum(row["invented"] for row in rows)) if rows else None


def _median_seconds(rows: Sequence[Row]) -> float | None:
    return float(np.median([row["seconds"] for row in rows])) if rows else None


def _grounded_by_hand(cited: Callable[[Iterable[bool]], bool]) -> Callable[[Sequence[Row]], float | None]:
    """Of the replies of which any sentence, or all, are cited, the share whose claims a person found to be borne out, all of them.
    Where all are is what `ungrounded: drop` sends.
    """

    def share(rows: Sequence[Row]) -> float | None:
        replies: dict[tuple[str, str], list[Row]] = {}
        for row in rows:
            replies.setdefault((row["question"], row["of_mode"]), []).append(row)
        chosen = [found for found in replies.values() if cited(row["cited"] for row in found)]
        right = [all(row["right"] for row in found if row["claim"]) for found in chosen]
        return float(np.mean(right)) if right else None

    return share


SUITE = Ground()
