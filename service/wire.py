"""The OpenAI-compatible answers as they are sent.

Knows JSON. Decides what of a decision leaves the house: never the text of a dropped candidate, but to a key for it (law 7).
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from classifiers import Policy, Verdict
from classifiers.policy import shipped_presets
from classifiers.verdicts import UNSCORED
from retrieval import Passage
from service.decisions import Decision, Reply, Round, unsupported
from service.grounding import citation_row, citation_url
from service.quoting import title_of
from service.research import ToolPassage

Json = dict[str, Any]
CHUNK = "chat.completion.chunk"
_OPENING: Json = {"role": "assistant", "content": "", "refusal": None}


def error(message: str, type: str, param: str | None = None, code: str | None = None) -> Json:
    """The error envelope; always all four keys."""
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


def moderation_result(verdict: Verdict, policy: Policy) -> Json:
    """One text's row: which objectives were reached, and every score."""
    reached = {name: verdict.scores[name] >= o.threshold for name, o in policy.objectives.items()}
    return {
        "flagged": any(reached.values()),
        "categories": reached,
        "category_scores": dict(verdict.scores),
        "category_applied_input_types": {name: ["text"] for name in policy.objectives},
    }


def moderation_block(verdicts: Sequence[Verdict | None], policy: Policy, model: str) -> Json:
    """The inline moderation of one side; an error where a text could not be judged, never a silent pass."""
    if any(v is not None and UNSCORED in v.because for v in verdicts):
        return {
            "type": "error",
            "code": "moderation_failed",
            "message": "the text could not be judged and was held back",
        }
    return {
        "type": "moderation_results",
        "model": model,
        "results": [
            {"type": "moderation_result", "model": model, **moderation_result(v, policy)}
            for v in verdicts
            if v is not None
        ],
    }


def completion(decision: Decision, policy: Policy, explain: bool, *, texts: bool = False) -> Json:
    """The whole answer, not streamed. `texts`: with `explain`, what every candidate says, for whom law 7 allows it."""
    return {
        **_head(decision, "chat.completion"),
        "choices": [
            {
                "index": i,
                "message": {
                    "role": "assistant",
                    "content": reply.text,
                    "refusal": None,
                    "annotations": annotations(reply),
                },
                "finish_reason": reply.finish_reason,
                "logprobs": None,
            }
            for i, reply in enumerate(decision.replies)
        ],
        "usage": usage(decision),
        **_record(decision, policy, explain, texts),
    }


def chunks(
    decision: Decision,
    policy: Policy,
    explain: bool,
    include_usage: bool,
    sent: Sequence[str] = (),
    *,
    texts: bool = False,
) -> Iterator[Json]:
    """The same answer as a stream of chunks. Everything in it has already been screened.

    `sent`: of each choice the text that was sent before, as `sentence_chunk`; what comes is the rest.
    """
    head = _head(decision, CHUNK)
    for i, reply in enumerate(decision.replies):
        before = sent[i] if i < len(sent) else ""
        if not before:
            yield _chunk(head, i, _OPENING)
        for piece in _pieces(reply.text[len(before) :]):
            yield _chunk(head, i, {"content": piece})
        last = _chunk(head, i, {"annotations": annotations(reply)}, reply.finish_reason)
        yield {**last, **_record(decision, policy, explain, texts)} if i + 1 == len(decision.replies) else last
    if include_usage:
        yield {**head, "choices": [], "usage": usage(decision)}


def sentence_chunk(head: Json, choice: int, text: str, first: bool) -> Json:
    """A piece of a reply that is sent before the decision is; `first`: of this choice. `head`: see `chunk_head`."""
    return _chunk(head, choice, {**_OPENING, "content": text} if first else {"content": text})


def chunk_head(id: str, created: int, model: str, versions: Mapping[str, str]) -> Json:
    """What every chunk of a stream begins with; the decision that ends it must have the same id and time."""
    fingerprint = f"{versions['safety']}-{versions['policy']}"
    return {"id": id, "object": CHUNK, "created": created, "model": model, "system_fingerprint": fingerprint}


def _chunk(head: Json, choice: int, delta: Json, finish: str | None = None) -> Json:
    return {**head, "choices": [{"index": choice, "delta": delta, "finish_reason": finish, "logprobs": None}]}


def annotations(reply: Reply) -> list[Json]:
    """Sources in the shape that clients know; indices into the reply."""
    return [
        {
            "type": "url_citation",
            "url_citation": {
                "start_index": citation.start,
                "end_index": citation.end,
                "url": citation_url(citation),
                "title": title_of(citation.quote.passage.title),
            },
        }
        for citation in (reply.grounding.citations if reply.grounding else ())
    ]


def sources(reply: Reply, choice: int, explain: bool = False) -> list[Json]:
    """Sources with both spans: in the reply of that choice, and in the document, or the tool's result, that is quoted.

    `explain`: with the passage that the quote stands in, at its place in the document.
    """
    return [
        {
            "choice": choice,
            "claim": {"text": citation.claim, "start": citation.start, "end": citation.end},
            "tool": tool_of(citation.quote.passage),
            **citation_row(citation),
            **({"excerpt": _excerpt(citation.quote.passage)} if explain else {}),
        }
        for citation in (reply.grounding.citations if reply.grounding else ())
    ]


def _excerpt(passage: Passage) -> Json:
    return {"text": passage.text, "start": passage.start, "end": passage.end}


def tool_of(passage: Passage) -> str:
    """The tool that a passage came from: "retrieval", for what is in the index."""
    return passage.document_id if isinstance(passage, ToolPassage) else "retrieval"


def ungrounded(decision: Decision) -> list[Json] | None:
    """The spans of the unsupported claims that are sent; None when the policy is to keep them, or none were looked for."""
    if decision.ungrounded == "keep" or all(reply.grounding is None for reply in decision.replies):
        return None
    return [
        {
            "choice": choice,
            "text": claim.text,
            "start": claim.start,
            "end": claim.end,
            "contradicted": claim.label == "contradicted",
        }
        for choice, reply in enumerate(decision.replies)
        for claim in unsupported(reply.grounding)
    ]


def round_row(decision: Decision, made: Round) -> Json:
    """One round of research in counts, with what was looked up.

    A query is a claim of a candidate. Where a candidate with unsupported claims is to be dropped, its claims stay in (law 7).
    """
    candidates = [judged for judged in decision.judged if judged.round == made.number]
    asked_of = decision.judged[made.asked_of]
    sent = asked_of.candidate.text in [reply.text for reply in decision.replies]
    return {
        "round": made.number,
        "queries": list(made.queries) if asked_of.kept and (sent or decision.ungrounded != "drop") else [],
        "found": len(made.results),
        "sampled": made.sampled,
        "dropped": sum(not judged.kept for judged in candidates),
        "claims": made.claims,
        "supported": made.supported,
    }


def usage(decision: Decision) -> Json:
    written = sum(reply.tokens for reply in decision.replies)
    return {
        "prompt_tokens": decision.prompt_tokens,
        "completion_tokens": written,
        "total_tokens": decision.prompt_tokens + written,
    }


def _head(decision: Decision, kind: str) -> Json:
    return {**chunk_head(decision.id, decision.created, decision.model, decision.versions), "object": kind}


def _record(decision: Decision, policy: Policy, explain: bool, texts: bool) -> Json:
    model = f"winnow-safety-{decision.versions['safety']}"
    verdicts = [reply.verdict for reply in decision.replies]
    if not any(verdicts) and decision.judged and all(UNSCORED in j.verdict.because for j in decision.judged):
        verdicts = [decision.judged[0].verdict]  # nothing could be judged: say so
    record: Json = {
        "moderation": {
            "input": moderation_block([decision.input_verdict], policy, model),
            "output": moderation_block(verdicts, policy, model),
        },
        "winnow": {
            "asked": decision.asked,
            "sampled": len(decision.judged),
            "with_evidence": sum(j.with_evidence for j in decision.judged),
            "dropped": len(decision.dropped),
            "dropped_by": dict(decision.dropped_by.most_common()),
            "attempts": decision.attempts,
            "input_blocked": decision.blocked_input,
            "sources": [source for i, reply in enumerate(decision.replies) for source in sources(reply, i, explain)],
            "groundedness": groundedness(decision.replies),
            "ungrounded": ungrounded(decision),
            "rounds": [round_row(decision, made) for made in decision.rounds],
            "stopped": decision.stopped,
            "sampled_tokens": sum(j.candidate.tokens for j in decision.judged),
            "seed": decision.seed,
            "seconds": {phase: round(seconds, 4) for phase, seconds in decision.seconds.items()},
            "versions": dict(decision.versions),
        },
    }
    if explain:
        record["winnow"]["verdicts"] = [
            {
                "dropped": not j.kept,
                **({"text": j.candidate.text} if texts else {}),
                "choice": next((i for i, reply in enumerate(decision.replies) if reply.verdict is j.verdict), None),
                "because": list(j.verdict.because) or ([j.reason] if j.reason else []),
                "flagged": list(j.verdict.flagged),
                "unsafe": j.verdict.unsafe,
                "scores": dict(j.verdict.scores),
                # Where in the text it lies is not said: the text of a dropped candidate stays in (law 7).
                "reasons": [
                    {
                        "objective": r.objective,
                        "score": r.score,
                        "threshold": r.threshold,
                        "reading": r.place and r.place.reading,
                    }
                    for r in j.verdict.reasons
                ],
                "quality": asdict(j.rated) if j.rated else None,
                "mean_log_likelihood": None if j.candidate.log_likelihood is None else j.candidate.mean_log_likelihood,
                "with_evidence": j.with_evidence,
                "attempt": j.attempt,
                "round": j.round,
            }
            for j in decision.judged
        ]
    return record


def groundedness(replies: Sequence[Reply]) -> Json | None:
    """The claims of all choices, each supported or unsupported, and how many of the unsupported a passage denies.

    `score`, supported over claims, is null without claims (law 5); the whole is null when none were looked for.
    """
    found = [reply.grounding for reply in replies if reply.grounding is not None]
    if not found:
        return None
    claims = [claim for grounding in found for claim in grounding.claims]
    supported = sum(grounding.supported_count for grounding in found)
    return {
        "claims": len(claims),
        "supported": supported,
        "contradicted": sum(grounding.contradicted_count for grounding in found),
        "unsupported": len(claims) - supported,
        "score": supported / len(claims) if claims else None,
    }


def _pieces(text: str) -> Iterator[str]:
    start = 0
    for at, character in enumerate(text):
        if character.isspace() and at > start:
            yield text[start:at]
            start = at
    if start < len(text):
        yield text[start:]


def moderations(verdicts: Sequence[Verdict], policy: Policy, version: str) -> Json:
    """The answer of `POST /v1/moderations`."""
    return {
        "id": f"modr-{uuid.uuid4().hex}",
        "model": f"winnow-safety-{version}",
        "results": [moderation_result(verdict, policy) for verdict in verdicts],
    }


def policy_row(policy: Policy) -> Json:
    """The answer of `GET /v1/policy`: every objective with its threshold, and `presets`, the thresholds of the shipped presets."""
    presets = {preset: shipped.objectives for preset, shipped in shipped_presets().items()}
    return {
        "object": "policy",
        "preset": policy.preset,
        "fingerprint": policy.fingerprint,
        "objectives": [
            {
                "name": o.name,
                "code": o.code,
                "group": o.group,
                "title": o.title,
                "definition": o.definition,
                "threshold": o.threshold,
                "action": o.action,
                "presets": {preset: found[o.name].threshold for preset, found in presets.items() if o.name in found},
            }
            for o in policy.objectives.values()
        ],
    }


def models(names: Sequence[str]) -> Json:
    """The answer of `GET /v1/models`."""
    return {
        "object": "list",
        "data": [{"id": name, "object": "model", "created": 0, "owned_by": "winnow"} for name in names],
    }
