"""Judging files of candidates: a line of JSON in, a line of verdicts out. The rows of `winnow screen`.

Knows the format of both lines. Does not know files of other kinds.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from classifiers import Safety
from classifiers.labelled import Turn


class BadLine(ValueError):
    """A line cannot be judged; the message names file, line and field."""


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The checked lines of a JSON Lines file. Raises `BadLine`, FileNotFoundError."""
    # Split at \n alone, in bytes: U+2028 is allowed inside JSON strings.
    for number, line in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line.strip():
            yield _checked(line, f"{path.name}:{number}")


def screen_line(safety: Safety, line: Mapping[str, Any]) -> dict[str, Any]:
    """Verdicts for the candidates of a line, their ranks (1 is best, None when dropped) and the pick (index or None).

    Ranked by how safe they are: no generator's likelihoods are known here. Without candidates the user's last turn is judged.
    """
    turns: list[Turn] = [(m["role"], m["content"]) for m in line.get("messages") or []]
    candidates = line.get("candidates")
    context, texts, role = (turns, candidates, "assistant") if candidates else (turns[:-1], [turns[-1][1]], "user")
    verdicts = safety.judge(context, texts, role)
    order = sorted((i for i, v in enumerate(verdicts) if not v.dropped), key=lambda i: verdicts[i].unsafe)
    ranks: list[int | None] = [None] * len(verdicts)
    for place, i in enumerate(order, 1):
        ranks[i] = place
    return {
        "id": line.get("id"),
        "verdicts": [
            {
                "unsafe": v.unsafe,
                "scores": dict(v.scores),
                "dropped": v.dropped,
                "because": list(v.because),
                "flagged": list(v.flagged),
            }
            for v in verdicts
        ],
        "ranks": ranks,
        "pick": order[0] if order else None,
    }


def _checked(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadLine(f"{where}: not UTF-8 (byte {error.start} of the line)") from error
    except (ValueError, RecursionError) as error:
        raise BadLine(f"{where}: not JSON: {error}") from error
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
