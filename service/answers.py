"""The answers as the API's own document describes them; `wire.py`, `batch.py` and `grounding.py` make them.

Knows names and types, and makes nothing: no answer is built or checked here while the server runs.
"""

from typing import Literal

from pydantic import BaseModel, Field

Score = dict[str, float]


class ErrorDetail(BaseModel):
    message: str
    type: Literal["invalid_request_error", "server_error", "requests", "tokens"]
    param: str | None
    code: str | None


class ErrorEnvelope(BaseModel):
    """What every error is answered with, also as the last event of a stream that had begun."""

    error: ErrorDetail


class Span(BaseModel):
    """Characters [start, end) and what they say."""

    text: str
    start: int
    end: int


class UrlCitation(BaseModel):
    start_index: int
    end_index: int
    url: str
    title: str


class Annotation(BaseModel):
    type: Literal["url_citation"]
    url_citation: UrlCitation


class Message(BaseModel):
    role: Literal["assistant"]
    content: str
    refusal: None
    annotations: list[Annotation]


class Choice(BaseModel):
    """`content_filter`: no candidate passed, and the content is the policy's own."""

    index: int
    message: Message
    finish_reason: Literal["stop", "length", "content_filter"]
    logprobs: None


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ModerationRow(BaseModel):
    """One text: which objectives were reached, and every score in [0, 1]."""

    flagged: bool
    categories: dict[str, bool]
    category_scores: Score
    category_applied_input_types: dict[str, list[str]]


class InlineModerationRow(ModerationRow):
    type: Literal["moderation_result"]
    model: str


class ModerationResults(BaseModel):
    type: Literal["moderation_results"]
    model: str
    results: list[InlineModerationRow]


class ModerationFailed(BaseModel):
    """The text could not be judged, and was held back."""

    type: Literal["error"]
    code: str
    message: str


class InlineModeration(BaseModel):
    input: ModerationResults | ModerationFailed
    output: ModerationResults | ModerationFailed


class TextSource(BaseModel):
    document: str
    passage: str
    title: str
    heading: str
    url: str
    source: str
    quote: Span
    support: float
    bm25: float


class Source(TextSource):
    """A claim of the reply `choice` and the words of a document, or of a tool's result, that bear it out."""

    choice: int
    claim: Span
    tool: str
    excerpt: Span | None = Field(None, description="with `explain`: the passage that the quote stands in")


class Groundedness(BaseModel):
    """`score`: supported of claims; null where nothing is claimed."""

    claims: int
    supported: int
    contradicted: int
    unsupported: int
    score: float | None


class UngroundedSpan(Span):
    choice: int
    contradicted: bool


class Round(BaseModel):
    """A round of research."""

    round: int
    queries: list[str]
    found: int
    sampled: int
    dropped: int
    claims: int
    supported: int


class CandidateReason(BaseModel):
    objective: str
    score: float
    threshold: float
    reading: str | None


class Quality(BaseModel):
    sensible: float
    specific: float
    interesting: float


class CandidateVerdict(BaseModel):
    """A candidate. `choice`: as which it was sent."""

    dropped: bool
    text: str | None = Field(None, description="what it says, for a key with the scope `debug` alone")
    choice: int | None
    because: list[str]
    flagged: list[str]
    unsafe: float
    scores: Score
    reasons: list[CandidateReason]
    quality: Quality | None
    mean_log_likelihood: float | None
    with_evidence: bool
    attempt: int
    round: int


class WinnowRecord(BaseModel):
    """How the reply came about, in counts."""

    asked: int
    sampled: int
    with_evidence: int
    dropped: int
    dropped_by: dict[str, int]
    attempts: int
    input_blocked: bool
    sources: list[Source]
    groundedness: Groundedness | None
    ungrounded: list[UngroundedSpan] | None
    rounds: list[Round]
    stopped: str | None
    sampled_tokens: int
    seed: int
    seconds: dict[str, float]
    versions: dict[str, str]
    verdicts: list[CandidateVerdict] = Field([], description="with `explain`: one for each candidate")


class ChatCompletion(BaseModel):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[Choice]
    usage: Usage
    moderation: InlineModeration
    winnow: WinnowRecord


class Delta(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str = ""
    refusal: None = None
    annotations: list[Annotation] = []


class ChunkChoice(BaseModel):
    index: int
    delta: Delta
    finish_reason: Literal["stop", "length", "content_filter"] | None
    logprobs: None


class ChatCompletionChunk(BaseModel):
    """An event of a stream. The last one with choices has `moderation` and `winnow`; one without choices has `usage`."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChunkChoice]
    usage: Usage | None = None
    moderation: InlineModeration | None = None
    winnow: WinnowRecord | None = None


class Moderations(BaseModel):
    id: str
    model: str
    results: list[ModerationRow]


class TextReason(BaseModel):
    """Without a place where none is known."""

    objective: str
    score: float
    threshold: float
    sentence: str | None = None
    start: int | None = None
    end: int | None = None
    reading: str | None = None


class TextVerdict(BaseModel):
    """`unsafe`: the overall probability. `doubt` and `reasons`: with `explain`."""

    unsafe: float
    scores: Score
    dropped: bool
    because: list[str]
    flagged: list[str]
    doubt: float | None = None
    reasons: list[TextReason] = []


class Screened(BaseModel):
    """A verdict and a rank for each candidate, 1 the best and null where dropped. `prompt`: the verdict on the user's last turn.
    `policy`: the fingerprint of the one that judged.
    """

    id: str | int | None
    verdicts: list[TextVerdict]
    ranks: list[int | None]
    pick: int | None
    prompt: TextVerdict | None
    policy: str


class SumSource(BaseModel):
    tool: Literal["calculator"]
    input: str
    output: str
    support: float


class ClaimRow(Span):
    support: float
    label: Literal["supported", "unsupported", "contradicted"]
    citations: list[TextSource | SumSource]


class Grounded(BaseModel):
    """`support`: of the weakest claim; `groundedness`: supported of claims; both null where nothing is claimed."""

    id: str | int | None
    claims: list[ClaimRow]
    support: float | None
    groundedness: float | None


class PolicyObjective(BaseModel):
    name: str
    code: str
    group: str
    title: str
    definition: str
    threshold: float
    action: Literal["drop", "flag"]
    presets: dict[str, float]


class PolicyInService(BaseModel):
    object: Literal["policy"]
    preset: str
    fingerprint: str
    objectives: list[PolicyObjective]


class Model(BaseModel):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class Models(BaseModel):
    object: Literal["list"]
    data: list[Model]


class FeedbackReason(BaseModel):
    name: str
    group: str
    title: str
    definition: str


class FeedbackReasons(BaseModel):
    """What can be said of a reply. `kept`: whether it is; `texts_kept`: and with it the words of replies."""

    reasons: list[FeedbackReason]
    kept: bool
    texts_kept: bool


class FeedbackKept(BaseModel):
    id: str
    choice: int
    reasons: list[str]


class Healthy(BaseModel):
    status: Literal["ok"]


class IndexInService(BaseModel):
    documents: int
    passages: int
    engine: str
    warning: str | None = None


class LogState(BaseModel):
    durable: bool
    kept: int
    lost: int
    waiting: int
    error: str | None = None


class Readiness(BaseModel):
    """`reasons`: why no request can be answered, or a start now would fail. `warnings`: what an operator should look at. `precision`
    and `device`: of a local model.
    """

    status: Literal["ready", "not ready"]
    reasons: list[str] = []
    warnings: list[str] = []
    generator: str
    precision: str | None = None
    device: str | None = None
    safety: str
    policy: str
    index: IndexInService
    tools: dict[str, str]
    decision_log: LogState | None = None
    keys: dict[str, str] | None = None
