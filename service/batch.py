"""Judging files of candidates: a line of JSON in, a line of verdicts out. The rows of `winnow screen`.

Knows the format of both lines. Does not know files of other kinds.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from classifiers import Verdict
from classifiers.labelled import Turn


class BadLine(ValueError):
    """A line cannot be judged; the message names file, line and field."""


def json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    """Each line of a JSON Lines file that is not blank, with "FILE:NUMBER". Raises `BadLine`, FileNotFoundError."""
    # Split at \n alone, in bytes: U+2028 is allowed inside JSON strings.
    for number, line in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line.strip():
            where = f"{path.name}:{number}"
            try:
                yield where, json.loads(line.decode("utf-8"))
            except UnicodeDecodeError as error:
                raise BadLine(f"{where}: not UTF-8 (byte {error.start} of the line)") from error
            except (ValueError, RecursionError) as error:
                raise BadLine(f"{where}: not JSON: {error}") from error


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The checked lines of a JSON Lines file. Raises `BadLine`, FileNotFoundError."""
    for where, row in json_lines(path):
        yield _checked(row, where)


Judge = Callable[[Sequence[Turn], Sequence[str], str], Sequence[Verdict]]
"""(context, texts, role of who says them) to one verdict a text."""


Explain = Callable[[Sequence[Turn], str, Verdict, str], Verdict]
"""(context, text, its verdict, role of who says it) to the verdict with its reasons looked into."""


def screen_line(judge: Judge, line: Mapping[str, Any], explain: Explain | None = None) -> dict[str, Any]:
    """Verdicts for the candidates of a line, their ranks (1 is best, None when dropped) and the pick (index or None).

    Ranked by how safe they are: no generator's likelihoods are known here. The user's last turn gets a verdict of its own,
    `prompt` (None without one); without candidates it is also the text that is judged. With `explain` each verdict has its reasons,
    those of dropped texts looked into.
    """
    turns: list[Turn] = [(m["role"], m["content"]) for m in line.get("messages") or []]
    asked = bool(turns) and turns[-1][0] == "user"
    prompt = judge(turns[:-1], [turns[-1][1]], "user")[0] if asked else None
    candidates = line.get("candidates")
    verdicts = list(judge(turns, candidates, "assistant")) if candidates else []
    if explain:
        verdicts = [
            explain(turns, text, v, "assistant") if v.dropped else v
            for text, v in zip(candidates or [], verdicts, strict=True)
        ]
        if prompt and prompt.dropped:
            prompt = explain(turns[:-1], turns[-1][1], prompt, "user")
    if not candidates:
        verdicts = [prompt] if prompt else []
    order = sorted((i for i, v in enumerate(verdicts) if not v.dropped), key=lambda i: verdicts[i].unsafe)
    ranks: list[int | None] = [None] * len(verdicts)
    for place, i in enumerate(order, 1):
        ranks[i] = place
    return {
        "id": line.get("id"),
        "verdicts": [_row(v, explain is not None) for v in verdicts],
        "ranks": ranks,
        "pick": order[0] if order else None,
        "prompt": _row(prompt, explain is not None) if prompt else None,
    }


def _row(verdict: Verdict, explain: bool) -> dict[str, Any]:
    row = {
        "unsafe": verdict.unsafe,
        "scores": dict(verdict.scores),
        "dropped": verdict.dropped,
        "because": list(verdict.because),
        "flagged": list(verdict.flagged),
    }
    if explain:
        row["doubt"] = verdict.doubt
        row["reasons"] = [
            {
                "objective": r.objective,
                "score": r.score,
                "threshold": r.threshold,
                **(asdict(r.place) if r.place else {}),
            }
            for r in verdict.reasons
        ]
    return row


def _checked(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise BadLine(f"{where}: a line must be a JSON object")
    messages, candidates = row.get("messages"), row.get("candidates")
    if messages is not None:
        if not isinstance(messages, list):
            raise BadLine(f"{where}: field 'messages' must be a list")
        for m in messages:
            known = isinstance(m, dict) and m.get("role") in ("system", "user", "assistant")
            if not known or not isinstance(m.get("content"), str):
                raise BadLine(f"{where}: a message needs a role (system, user, assistant) and a text content")
    if candidates is not None and (
        not isinstance(candidates, list) or not candidates or not all(isinstance(c, str) for c in candidates)
    ):
        raise BadLine(f"{where}: field 'candidates' must be a non-empty list of texts")
    if candidates is None and not (messages and messages[-1]["role"] == "user"):
        raise BadLine(f"{where}: a line needs 'candidates', or 'messages' that end with the user's turn")
    return row
