"""The suite `quality`: what the ranker makes of the model's replies, before it picks (any candidate) and after (the reply sent).

Knows our own contexts and shares of answers. The rater is the one that ranks: it tells what picking by it gains by its own lights, not
whether it is right, which its model card says.
"""

from collections.abc import Callable, Sequence

from classifiers import Rated
from classifiers.quality import ASKED
from classifiers.quality_sets import read_rated
from data import QUALITY
from service.rating import rate
from service.suites.base import Metric, Row, mean_of
from service.suites.run import Run, Unavailable

CONTEXTS, QUICK_CONTEXTS = 16, 2
CANDIDATES = 8
"""Drawn of an endpoint, whose own are not told."""
MAX_TOKENS = 64
YES = 0.5
"""The probability from which on an answer counts as yes."""


class _Quality:
    name = "quality"
    title = "how sensible, specific and interesting are the replies, by the ranker, before it picks and after?"
    batch = 1

    def cases(self, run: Run) -> Sequence[Row]:
        if run.corridor.quality is None:
            raise Unavailable("needs a quality ranker: train one with winnow train --quality")
        contexts = {r.group: r.context for r in read_rated(QUALITY / "replies.jsonl") if r.split == "test"}
        cases = [{"id": group, "messages": [_message(*turn) for turn in turns]} for group, turns in contexts.items()]
        return run.sample(cases, CONTEXTS, QUICK_CONTEXTS)

    def judge(self, cases: Sequence[Row], run: Run) -> Sequence[Row]:
        return [self._judged(case, run) for case in cases]

    def _judged(self, case: Row, run: Run) -> Row:
        seed = run.seed_of(case["id"])
        messages = case["messages"]
        answer = run.model.answer(messages, MAX_TOKENS, seed)
        if answer.decision is not None:
            candidates = [j.candidate.text for j in answer.decision.judged if j.attempt == 0 and j.candidate.text]
        else:
            candidates = run.model.candidates(messages, CANDIDATES, MAX_TOKENS, seed)
        turns = [(m["role"], m["content"]) for m in messages]
        *before, after = rate(run.corridor.quality, turns, [*candidates, answer.text])
        return {
            "id": case["id"],
            "asked": messages[-1]["content"],
            "reply": answer.text,
            "sent": answer.finish_reason != "content_filter",
            "before": [_answers(rated) for rated in before],
            "after": _answers(after),
        }

    def metrics(self, rows: Sequence[Row]) -> Sequence[Metric]:
        found = []
        for name in ASKED:
            found.append(Metric(f"{name}, sent", mean_of(_after(name)), rows=lambda row: row["sent"]))
            found.append(
                Metric(
                    f"{name}, any candidate",
                    mean_of(_before(name)),
                    beside=f"{name}, sent",
                    rows=lambda row: row["sent"],
                )
            )
        return found


SUITE = _Quality()


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _answers(rated: Rated | None) -> dict[str, float] | None:
    return {name: float(getattr(rated, name)) for name in ASKED} if rated is not None else None


def _after(name: str) -> Callable[[Row], float | None]:
    return lambda row: float(row["after"][name] >= YES) if row["after"] else None


def _before(name: str) -> Callable[[Row], float | None]:
    """The share of a context's candidates, so that each context counts once."""

    def share(row: Row) -> float | None:
        rated = [each[name] >= YES for each in row["before"] if each]
        return sum(rated) / len(rated) if rated else None

    return share
