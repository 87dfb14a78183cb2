"""What the decision log keeps of a decision: digests and lengths in place of its words, which stand beside it where they are kept.

Knows the record and its JSON. Does not know where records are stored.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from classifiers import Rated, Verdict
from classifiers.policy import Preset
from retrieval import Claim
from service.chat import Wants
from service.decisions import Decision, Judged, Reply
from service.generator import Candidate, Message
from service.wire import tool_of


@dataclass(frozen=True)
class Said:
    """A text without its words: SHA-256 of its UTF-8 in hex, and how many characters. Short texts can be guessed from their digest."""

    digest: str
    characters: int


@dataclass(frozen=True)
class Turn:
    """A turn of the conversation."""

    role: str
    said: Said


@dataclass(frozen=True)
class LoggedCandidate:
    """A candidate with its verdict, in which the places of reasons have no words. `log_likelihood` and `rated` are None where there was
    none, or what there was held no finite numbers.
    """

    said: Said
    tokens: int
    log_likelihood: float | None
    finish_reason: str
    verdict: Verdict
    with_evidence: bool
    attempt: int
    round: int
    ungrounded: bool
    rated: Rated | None

    def judged(self, verdict: Verdict | None = None) -> Judged:
        """As the corridor holds it, under its own verdict or another; a mark stands for the words, where there were any."""
        text = "…" if self.said.characters else ""
        return Judged(
            Candidate(text, self.tokens, self.log_likelihood, self.finish_reason),
            verdict or self.verdict,
            self.with_evidence,
            self.attempt,
            self.round,
            self.ungrounded,
            self.rated,
        )


@dataclass(frozen=True)
class LoggedCitation:
    """A quote by its place in the document, with its support in [0, 1] and the search score of its passage."""

    tool: str
    document: str
    passage: str
    start: int
    end: int
    quote: Said
    support: float
    bm25: float


@dataclass(frozen=True)
class LoggedClaim:
    """A claim by its place in the reply. `label`: supported, contradicted or unsupported."""

    start: int
    end: int
    said: Said
    support: float
    label: str
    citations: tuple[LoggedCitation, ...]


@dataclass(frozen=True)
class LoggedReply:
    """What was sent. `candidate`: its place in `Record.candidates`, None for the policy's own words. `claims` None: not looked for."""

    said: Said
    finish_reason: str
    tokens: int
    candidate: int | None
    claims: tuple[LoggedClaim, ...] | None


@dataclass(frozen=True)
class LoggedRound:
    """One round of research, as `service.decisions.Round` tells it."""

    number: int
    asked_of: int
    queries: tuple[Said, ...]
    results: tuple[str, ...]
    sampled: int
    picked: int
    claims: int
    supported: int


@dataclass(frozen=True)
class Sampled:
    """How the candidates were drawn."""

    max_tokens: int
    temperature: float
    top_k: int
    top_p: float
    stop: tuple[Said, ...]


@dataclass(frozen=True)
class Record:
    """A decision with what was asked for. `created` in seconds since 1970, UTC; `seconds` wall-clock by phase; `ranked`: survivors by
    their places in `candidates`, best first. `wanted`: candidates a draft; `asked`: of the generator in all, of which fewer may have
    come. `policy`: the preset that the request made the server's policy as strict as. `texts`: digest to words, of every `Said`, where
    they are kept and were asked for.
    """

    id: str
    created: int
    model: str
    seed: int
    messages: tuple[Turn, ...]
    wanted: int
    asked: int
    choices: int
    sampling: Sampled
    grounding: str
    ungrounded: str
    block_input: bool
    blocked_input: bool
    input_verdict: Verdict
    candidates: tuple[LoggedCandidate, ...]
    ranked: tuple[int, ...]
    replies: tuple[LoggedReply, ...]
    attempts: int
    rounds: tuple[LoggedRound, ...]
    stopped: str | None
    prompt_tokens: int
    seconds: Mapping[str, float]
    versions: Mapping[str, str]
    policy: Preset | None = None
    texts: Mapping[str, str] = field(default_factory=dict)

    @property
    def judged(self) -> list[Judged]:
        """The candidates as the corridor holds them, without their words."""
        return [candidate.judged() for candidate in self.candidates]

    @property
    def all_dropped(self) -> bool:
        """Whether candidates were sampled and none was kept."""
        return bool(self.candidates) and not any(j.kept for j in self.judged)

    @property
    def has_texts(self) -> bool:
        """Whether the words of every turn and candidate are at hand."""
        said = [turn.said for turn in self.messages] + [candidate.said for candidate in self.candidates]
        return all(each.digest in self.texts for each in said)

    def text(self, said: Said) -> str:
        """Its words. Raises KeyError where they are not at hand."""
        return self.texts[said.digest]

    def conversation(self) -> list[Message]:
        """The turns with their words. Raises KeyError where they are not at hand."""
        return [{"role": turn.role, "content": self.text(turn.said)} for turn in self.messages]


class BadRecord(ValueError):
    """A stored record is none; the message names the decision and the field."""


def record_of(decision: Decision, messages: Sequence[Message], wants: Wants, retain_texts: bool = False) -> Record:
    """The record of a decision on these messages; its words too, those of dropped candidates among them, where they are retained."""
    texts: dict[str, str] = {}

    def said(text: str) -> Said:
        found = said_of(text)
        if retain_texts:
            texts[found.digest] = text
        return found

    def claim(each: Claim) -> LoggedClaim:
        citations = tuple(
            LoggedCitation(
                tool_of(citation.quote.passage),
                citation.quote.passage.document_id,
                citation.quote.passage.id,
                citation.quote.start,
                citation.quote.end,
                said(citation.quote.text),
                citation.score,
                citation.bm25,
            )
            for citation in each.citations
        )
        return LoggedClaim(each.start, each.end, said(each.text), each.support, each.label, citations)

    sampling = wants.sampling
    return Record(
        id=decision.id,
        created=decision.created,
        model=decision.model,
        seed=decision.seed,
        messages=tuple(Turn(message["role"], said(message["content"])) for message in messages),
        wanted=wants.candidates,
        asked=decision.asked,
        choices=wants.choices,
        sampling=Sampled(
            sampling.max_tokens,
            sampling.temperature,
            sampling.top_k,
            sampling.top_p,
            tuple(said(stop) for stop in sampling.stop),
        ),
        grounding=wants.grounding,
        ungrounded=decision.ungrounded,
        block_input=wants.block_input,
        blocked_input=decision.blocked_input,
        input_verdict=_wordless(decision.input_verdict),
        candidates=tuple(
            LoggedCandidate(
                said(j.candidate.text),
                j.candidate.tokens,
                _finite(j.candidate.log_likelihood),
                j.candidate.finish_reason,
                _wordless(j.verdict),
                j.with_evidence,
                j.attempt,
                j.round,
                j.ungrounded,
                _rated(j.rated),
            )
            for j in decision.judged
        ),
        ranked=decision.ranked,
        replies=tuple(
            LoggedReply(
                said(reply.text),
                reply.finish_reason,
                reply.tokens,
                place,
                tuple(map(claim, reply.grounding.claims)) if reply.grounding else None,
            )
            for reply, place in zip(decision.replies, _places(decision), strict=True)
        ),
        attempts=decision.attempts,
        rounds=tuple(
            LoggedRound(
                made.number,
                made.asked_of,
                tuple(map(said, made.queries)),
                made.results,
                made.sampled,
                made.picked,
                made.claims,
                made.supported,
            )
            for made in decision.rounds
        ),
        stopped=decision.stopped,
        prompt_tokens=decision.prompt_tokens,
        seconds=dict(decision.seconds),
        versions=dict(decision.versions),
        policy=wants.policy,
        texts=texts,
    )


def said_of(text: str) -> Said:
    """Digest and length of a text; half of a surrogate pair counts as it is."""
    return Said(hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(), len(text))


def written(record: Record) -> str:
    """The record as JSON, without its words."""
    fields = asdict(record)
    del fields["texts"]
    return json.dumps(fields, separators=(",", ":"), allow_nan=False)


def read(stored: str, texts: Mapping[str, str], id: str) -> Record:
    """The record of such JSON, with these words. Raises `BadRecord`."""
    try:
        found = _RECORD.validate_python(json.loads(stored))
    except ValidationError as error:
        first = error.errors()[0]
        raise BadRecord(f"decision {id}: field {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except ValueError as error:
        raise BadRecord(f"decision {id}: not JSON: {error}") from error
    return replace(found, texts=texts)


def shown(record: Record) -> dict[str, Any]:
    """The record as a JSON object; where words are at hand each `text` stands beside its digest."""
    fields = asdict(record)
    del fields["texts"]
    found: dict[str, Any] = _spoken(fields, record.texts)
    return found


_RECORD = TypeAdapter(Record)


def _spoken(value: Any, texts: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        if set(value) == {"digest", "characters"} and value["digest"] in texts:
            return {**value, "text": texts[value["digest"]]}
        return {key: _spoken(each, texts) for key, each in value.items()}
    return [_spoken(each, texts) for each in value] if isinstance(value, list | tuple) else value


def _wordless(verdict: Verdict) -> Verdict:
    """The verdict without the sentences that decided; a place keeps its characters and its reading."""
    reasons = tuple(replace(r, place=r.place and replace(r.place, sentence="")) for r in verdict.reasons)
    return replace(verdict, scores=dict(verdict.scores), reasons=reasons, doubt=_finite(verdict.doubt))


def _rated(rated: Rated | None) -> Rated | None:
    return rated if rated is not None and math.isfinite(rated.rank_score) else None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _places(decision: Decision) -> list[int | None]:
    """Of each reply its candidate; a candidate is sent once."""
    free = list(decision.ranked)

    def place(reply: Reply) -> int | None:
        for at in free:
            judged = decision.judged[at]
            if (judged.candidate.text, judged.verdict) == (reply.text, reply.verdict):
                free.remove(at)
                return at
        return None

    return [place(reply) for reply in decision.replies]
