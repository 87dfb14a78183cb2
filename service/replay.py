"""Replay: logged decisions under another policy, from their stored scores or from new ones, and what would have become of each reply.

Knows verdicts, waves, fallbacks, and ranks as far as no source decides. Does not know how good a new candidate would be found or
whether a source would bear it out: where that decides, it says so.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from classifiers import Policy, Rated, SafetyScorer, Scores, Verdict, judge, unscored
from classifiers.verdicts import UNSCORED
from service.decisions import Judged, fallback_text
from service.evidence import before_question, question_of
from service.generator import Message
from service.ranking import FINALISTS, expected, rank
from service.records import LoggedCandidate, Record, Said, said_of
from service.screening import screen
from service.waves import MOST_ATTEMPTS

SAME, ANOTHER, OPEN = "same", "another", "open"
"""What would be sent: what was; certainly something else; or what cannot be told without sampling, ranking or looking up again."""

NEWLY_DROPPED, NEWLY_PASSED = "newly dropped", "newly passed"

BEST = Rated(1.0, 1.0, 1.0)
"""What a candidate may be rated that was dropped unrated."""
LEAST = 0.005
"""What moves a candidate's worth, in [0, 5], by less moves no rank: ranks go by hundredths."""


class CannotReplay(ValueError):
    """The log does not hold what this replay needs; the message says what, and what would help."""


@dataclass(frozen=True)
class Rejudged:
    """The new verdicts on a decision's question and on each of its candidates."""

    input: Verdict
    candidates: tuple[Verdict, ...]


@dataclass(frozen=True)
class Outcome:
    """What would have become of the reply, `SAME`, `ANOTHER` or `OPEN`, and `why` it is not the same."""

    reply: str
    why: str | None = None


def under(record: Record, policy: Policy) -> Policy:
    """What the policy would have been for this request, which may have asked for a stricter one."""
    return policy.by_preset[record.policy] if record.policy else policy


def rejudged(record: Record, policy: Policy) -> Rejudged:
    """Verdicts from the stored scores; what could not be scored stays dropped. Raises `CannotReplay`."""
    policy = under(record, policy)
    verdicts = [_rejudged(verdict, policy, record) for verdict in (record.input_verdict, *_verdicts(record))]
    return Rejudged(verdicts[0], tuple(verdicts[1:]))


def rescored(record: Record, policy: Policy, scorer: SafetyScorer, seconds: float) -> Rejudged:
    """Verdicts from reading the retained words again, each wave at once as it was read. Raises `CannotReplay`."""
    if not record.has_texts:
        raise CannotReplay(f"decision {record.id} holds no texts (retain_texts), so nothing can be scored again")
    policy = under(record, policy)
    messages = record.conversation()
    asked = screen(scorer, policy, _turns(before_question(messages)), [question_of(messages)], seconds, "user")
    verdicts: dict[int, Verdict] = {}
    for wave in dict.fromkeys((each.attempt, each.round) for each in record.candidates):
        places = [at for at, each in enumerate(record.candidates) if (each.attempt, each.round) == wave]
        texts = [record.text(record.candidates[at].said) for at in places]
        verdicts |= zip(places, screen(scorer, policy, _turns(messages), texts, seconds), strict=True)
    return Rejudged(asked[0], tuple(verdicts[at] for at in range(len(record.candidates))))


def outcome(record: Record, found: Rejudged, policy: Policy) -> Outcome:
    """What the corridor would have sent under the new verdicts, as far as the record tells."""
    blocked = record.block_input and found.input.dropped
    if blocked or record.blocked_input:
        if not blocked:
            return Outcome(OPEN, "the question would not be blocked")
        return _only_fallback(record, fallback_text([], policy, found.input), "the question would be blocked")
    kept = [_kept(c, v) for c, v in zip(record.candidates, found.candidates, strict=True)]
    was = [_kept(c, c.verdict) for c in record.candidates]
    judged = [
        replace(c.judged(v), ungrounded=c.ungrounded and alive)
        for c, v, alive in zip(record.candidates, found.candidates, kept, strict=True)
    ]
    sent = [reply.candidate for reply in record.replies if reply.candidate is not None]
    now, then = _deciding(record, kept), _deciding(record, was)
    if now is None:
        if then is not None and record.attempts < MOST_ATTEMPTS:
            return Outcome(ANOTHER if sent else OPEN, "every candidate would be dropped and others sampled")
        draft = [each for each in judged if not each.round]
        return _only_fallback(record, fallback_text(draft, policy), "no candidate would pass")
    if then is None or now < then:
        if sent or record.ungrounded != "drop":
            return Outcome(ANOTHER, "a candidate would pass where none of its attempt did")
        return Outcome(OPEN, "a candidate would pass, if a source bears it out")
    if not all(kept[at] for at in sent):
        return Outcome(ANOTHER, "what was sent would be dropped")
    passed = [at for at, alive in enumerate(kept) if alive and not was[at]]
    if passed and len(sent) < len(record.replies) and record.ungrounded != "drop":
        return Outcome(ANOTHER, "a candidate would pass where one was wanting")
    dropped = [at for at, alive in enumerate(kept) if was[at] and not alive]
    moved = _moved(record, judged, kept)
    if record.grounding == "off" and (passed or dropped or moved):
        firsts, sure = _firsts(record, judged, kept, passed)
        if firsts != [record.candidates[at].said for at in sent]:
            if sure:
                return Outcome(ANOTHER, "another candidate would be ranked first")
            return Outcome(OPEN, "a candidate would pass that might be ranked first")
    elif passed:
        return Outcome(OPEN, "a candidate would pass that might be ranked first")
    elif _compared(record, dropped):
        return Outcome(OPEN, "a candidate that was compared with what was sent would be dropped")
    elif moved or _rated_at_last(record, kept, was):
        return Outcome(OPEN, "the candidates would be ranked otherwise")
    fallback = said_of(fallback_text(judged, policy))
    if any(reply.candidate is None and reply.said != fallback for reply in record.replies):
        return Outcome(ANOTHER, "the fallback text would be another")
    return Outcome(SAME)


class Replay:
    """Decisions replayed under a policy, counted as they come."""

    def __init__(self, policy: Policy, texts: bool = False) -> None:
        """`texts`: the changes tell what was said, dropped or not, where the records have it."""
        self._policy, self._texts = policy, texts
        self._judged, self._before, self._after = Counter[str](), Counter[str](), Counter[str]()
        self._unscored = Counter[str]()
        self._objectives = {
            name: dict.fromkeys(("newly_dropped", "newly_passed", "newly_flagged", "no_longer_flagged"), 0)
            for name in (*policy.objectives, UNSCORED)
        }
        self._changed = {kind: Counter[str]() for kind in ("questions", "candidates")}
        self._replies, self._why = Counter[str](), Counter[str]()
        self._policies, self._weights, self._new = Counter[str](), Counter[str](), Counter[str]()
        self._created: list[int] = []
        self._all_dropped = [0, 0]
        self.changes: list[dict[str, Any]] = []

    def add(self, record: Record, found: Rejudged) -> None:
        """Count one decision."""
        self._created = [min([*self._created, record.created]), max([*self._created, record.created])]
        policy = under(record, self._policy)
        self._policies[record.versions.get("policy", "")] += 1
        self._new[policy.fingerprint] += 1
        self._weights[record.versions.get("safety", "")] += 1
        candidates = []
        for at, (candidate, verdict) in enumerate(zip(record.candidates, found.candidates, strict=True)):
            # A candidate that says nothing is never sent, whatever its scores.
            if not candidate.said.characters:
                continue
            change = self._change("candidates", candidate.verdict, verdict, policy)
            if change:
                candidates.append({"candidate": at, **change, **self._about(record, at)})
        question = self._change("questions", record.input_verdict, found.input, policy)
        result = outcome(record, found, self._policy)
        self._replies[result.reply] += 1
        if result.why:
            self._why[result.why] += 1
        if record.candidates:
            self._all_dropped[0] += not any(_kept(c, c.verdict) for c in record.candidates)
            self._all_dropped[1] += not any(map(_kept, record.candidates, found.candidates))
        if candidates or question or result.reply != SAME:
            row = {
                "id": record.id,
                "created": _time(record.created),
                "reply": result.reply,
                "why": result.why,
                "question": question,
                "candidates": candidates,
            }
            if self._texts and record.has_texts:
                row["messages"] = record.conversation()
            self.changes.append(row)

    def report(self, skipped: int = 0, weights: str | None = None) -> dict[str, Any]:
        """The counts and every change, as JSON. `skipped`: decisions left out for want of words; `weights`: that scored again, None for
        the stored scores. `policies`: fingerprint to decisions, some of which had asked for a stricter one. Of `replies` "open" are
        those of which the record does not tell; `why` they are not the same.
        """
        counts = {
            kind: {
                "judged": self._judged[kind],
                "dropped_before": self._before[kind],
                "dropped_after": self._after[kind],
                "newly_dropped": self._changed[kind][NEWLY_DROPPED],
                "newly_passed": self._changed[kind][NEWLY_PASSED],
                "unscored": self._unscored[kind],
            }
            for kind in self._changed
        }
        return {
            "decisions": sum(self._replies.values()),
            "skipped": skipped,
            "from": _time(self._created[0]) if self._created else None,
            "to": _time(self._created[1]) if self._created else None,
            "before": {"policies": dict(self._policies), "weights": dict(self._weights)},
            "after": {
                "preset": self._policy.preset,
                "policy": self._policy.fingerprint,
                "policies": dict(self._new),
                "weights": weights,
            },
            "replies": {name: self._replies[name] for name in (SAME, ANOTHER, OPEN)},
            "why": dict(self._why.most_common()),
            **counts,
            "all_dropped": {"before": self._all_dropped[0], "after": self._all_dropped[1]},
            "objectives": {name: row for name, row in self._objectives.items() if any(row.values())},
            "changes": self.changes,
        }

    def _change(self, kind: str, before: Verdict, after: Verdict, policy: Policy) -> dict[str, Any] | None:
        """What changes between two verdicts on one text, counted once, for the first of the reasons."""
        self._judged[kind] += 1
        self._before[kind] += before.dropped
        self._after[kind] += after.dropped
        self._unscored[kind] += UNSCORED in after.because
        for name in set(after.flagged) - set(before.flagged):
            self._objective(name)["newly_flagged"] += 1
        for name in set(before.flagged) - set(after.flagged):
            self._objective(name)["no_longer_flagged"] += 1
        if before.dropped == after.dropped:
            return None
        objective = (after.because if after.dropped else before.because)[0]
        change = NEWLY_DROPPED if after.dropped else NEWLY_PASSED
        self._objective(objective)[change.replace(" ", "_")] += 1
        self._changed[kind][change] += 1
        entry = policy.objectives.get(objective)
        return {
            "change": change,
            "objective": objective,
            "score": after.scores.get(objective),
            "score_before": before.scores.get(objective),
            "threshold": entry.threshold if entry else None,
        }

    def _objective(self, name: str) -> dict[str, int]:
        fresh = {"newly_dropped": 0, "newly_passed": 0, "newly_flagged": 0, "no_longer_flagged": 0}
        return self._objectives.setdefault(name, fresh)  # the old policy may have had one that the new one lacks

    def _about(self, record: Record, at: int) -> dict[str, Any]:
        candidate = record.candidates[at]
        about = {
            "sent": any(reply.candidate == at for reply in record.replies),
            "characters": candidate.said.characters,
        }
        words = record.texts.get(candidate.said.digest) if self._texts else None
        return about if words is None else {**about, "text": words}


def _rejudged(verdict: Verdict, policy: Policy, record: Record) -> Verdict:
    if UNSCORED in verdict.because:
        return unscored()
    missing = [name for name in policy.objectives if name not in verdict.scores]
    if missing:
        raise CannotReplay(
            f"decision {record.id} holds no score for the objective {missing[0]!r} of the new policy: score again with --rescore, "
            "where texts were retained, or leave it out with --since"
        )
    return judge(Scores(verdict.scores, verdict.unsafe, {}, verdict.doubt), policy)


def _verdicts(record: Record) -> list[Verdict]:
    return [candidate.verdict for candidate in record.candidates]


def _kept(candidate: LoggedCandidate, verdict: Verdict) -> bool:
    return not verdict.dropped and candidate.said.characters > 0


def _deciding(record: Record, kept: Sequence[bool]) -> int | None:
    """The attempt whose candidates the reply is picked from: the first in whose draft one is kept."""
    return min(
        (c.attempt for c, alive in zip(record.candidates, kept, strict=True) if alive and not c.round), default=None
    )


def _firsts(
    record: Record, judged: Sequence[Judged], kept: Sequence[bool], passed: Sequence[int]
) -> tuple[list[Said], bool]:
    """What would be sent where no source decides; and whether that is sure: a candidate that was dropped was never rated, and is
    ranked here as the best there can be. Who is not among the first so is not among them otherwise.
    """
    rater = "quality" in record.versions
    survivors = {at: judged[at] for at in _places(kept)}
    by_rating = all(each.rated is not None for at, each in survivors.items() if at not in passed)
    if rater:
        survivors |= {at: replace(judged[at], rated=BEST) for at in passed}
    ranked = rank(list(survivors.values()), "", [], lambda word: 0.0)[: record.choices]
    firsts = [next(record.candidates[at].said for at, each in survivors.items() if each is one) for one in ranked]
    return firsts, not (passed and rater and by_rating)


def _moved(record: Record, judged: Sequence[Judged], kept: Sequence[bool]) -> bool:
    """Whether new scores, in place of the stored, change what a survivor is worth: the likelier unsafe it is, the less."""
    rated = all(judged[at].rated is not None for at in _places(kept))
    for now, then in [(judged[at], record.candidates[at].judged()) for at in _places(kept)]:
        if rated and abs(expected(now) - expected(then)) >= LEAST:
            return True
        if record.grounding == "research" and round(now.verdict.unsafe, 1) != round(then.verdict.unsafe, 1):
            return True
    return False


def _rated_at_last(record: Record, kept: Sequence[bool], was: Sequence[bool]) -> bool:
    """Whether likelihood ranked the survivors for want of one's rating, who would be dropped now."""
    unrated = [at for at in _places(was) if record.candidates[at].rated is None]
    return bool(unrated) and not any(kept[at] for at in unrated)


def _places(those: Sequence[bool]) -> list[int]:
    return [at for at, each in enumerate(those) if each]


def _compared(record: Record, places: Sequence[int]) -> bool:
    """Whether one of these survivors had a part in the pick: their sources were looked at, or research asked of them."""
    if not places or record.grounding == "off":
        return False
    first = record.ranked[: record.choices - 1 + FINALISTS]
    return record.grounding == "research" or any(at in first for at in places)


def _only_fallback(record: Record, text: str, why: str) -> Outcome:
    same = all(reply.said == said_of(text) for reply in record.replies)
    return Outcome(SAME) if same else Outcome(ANOTHER, why)


def _turns(messages: Sequence[Message]) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in messages]


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
