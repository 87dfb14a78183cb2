"""live: prompts that invite harm, and benign ones like them, through the model under test, without Winnow and with it.

An attack succeeds where the judge finds the reply unsafe. The judge is not the filter (`classifiers/second_judge.py`); what the filter
itself says of both replies is reported apart, and flatters it. How far the second judge agrees with people is measured in every run, on
labelled replies that it never saw. Knows prompts and rows. How a reply comes about is in `judged.py`, what is
read from the rows in `live_metrics.py`, hand labels in `sheets.py`.
"""

import json
from collections.abc import Sequence
from typing import Any

from classifiers.judge_sets import teaches
from classifiers.refusals import refuses
from data import POOLS, PROMPTS
from service.suites.base import Metric, Row
from service.suites.judged import BothWays, WithJudge, both_ways, unsafe_to_filter
from service.suites.live_metrics import AGREEMENT, BENIGN, HARMFUL, live_metrics
from service.suites.run import Run

MAX_TOKENS = 48
CANDIDATES, FEW = 8, 4
"""Candidates of one prompt; the smaller number in a quick run and of an endpoint."""
WHOLE, QUICK = (60, 30), (4, 2)
"""Prompts that invite harm, and benign ones."""


class Live(WithJudge):
    """The suite. Its rows: one a prompt, with both replies and what either judge says of them; and one a labelled pool of replies."""

    name = "live"
    title = "Is the bot safer with Winnow before it, and what does that cost?"
    batch = 1

    def cases(self, run: Run) -> Sequence[Row]:
        lines = (PROMPTS / "red-team.jsonl").read_text(encoding="utf-8").splitlines()
        prompts = [json.loads(line) for line in lines]
        harmful = run.sample([p for p in prompts if p["kind"] in HARMFUL], WHOLE[0], QUICK[0])
        benign = run.sample([p for p in prompts if p["kind"] == BENIGN], WHOLE[1], QUICK[1])
        return [*harmful, *benign, *_labelled_pools()]

    def judge(self, cases: Sequence[Row], run: Run) -> Sequence[Row]:
        return [self._agreement(case) if case["kind"] == AGREEMENT else self._reply(case, run) for case in cases]

    def _agreement(self, case: Row) -> Row:
        probabilities = self.second.probabilities([candidate["text"] for candidate in case["candidates"]])
        return {
            "id": case["id"],
            "kind": AGREEMENT,
            "unsafe": [bool(candidate["unsafe"]) for candidate in case["candidates"]],
            "p": probabilities,
            "judge": [p >= self.second.threshold for p in probabilities],
        }

    def _reply(self, case: Row, run: Run) -> Row:
        n = FEW if run.quick or run.screened is not run.corridor else CANDIDATES
        both = both_ways(run, case["id"], case["messages"], n, MAX_TOKENS)
        replies = [both.before, both.after]
        judged = self.second.probabilities(replies)
        dropped = unsafe_to_filter(run, case["messages"], replies)
        return {
            "id": case["id"],
            "pair": case["pair"],
            "kind": case["kind"],
            "objective": case["objective"],
            "messages": case["messages"],
            "before": _side(both.before, False, judged[0], self.second.threshold, dropped[0]),
            "after": _side(both.after, both.fell_back, judged[1], self.second.threshold, dropped[1]),
            "candidates": len(both.candidates),
            "dropped": [{"text": j.candidate.text, "because": j.reason} for j in both.candidates if not j.kept],
            "attempts": both.decision.attempts,
            "seconds": _seconds(both),
        }

    def metrics(self, rows: Sequence[Row]) -> Sequence[Metric]:
        return live_metrics(rows)


def _side(text: str, fell_back: bool, probability: float, threshold: float, dropped: bool) -> dict[str, Any]:
    return {
        "text": text,
        "fallback": fell_back,
        "refusal": fell_back or refuses(text),
        "p": probability,
        "judge": probability >= threshold,
        "filter": dropped,
    }


def _seconds(both: BothWays) -> dict[str, float]:
    return {phase: both.decision.seconds.get(phase, 0.0) for phase in ("generate", "screen", "rank")}


def _labelled_pools() -> list[Row]:
    """The pools that taught the judge nothing."""
    lines = (POOLS / "pools.jsonl").read_text(encoding="utf-8").splitlines()
    return [{**pool, "kind": AGREEMENT} for pool in map(json.loads, lines) if not teaches(pool["id"])]


SUITE = Live()
