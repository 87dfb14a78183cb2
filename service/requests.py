"""The requests as they are checked: OpenAI-compatible bodies, and those of Winnow's own routes.

Knows JSON shapes and limits. Does not know what is done with them.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from classifiers.policy import Preset
from service.generator import Message

Json = dict[str, Any]

PLAIN_TEXT: Json = {
    "anyOf": [
        {"type": "object", "properties": {"type": {"const": "text"}}, "required": ["type"]},
        {"type": "null"},
    ]
}
MAX_SOURCES = 64
MAX_CANDIDATES = 64


def _whole(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON may escape half of a surrogate pair; no tokenizer reads it
        raise ValueError(f"character {error.start} is half of a surrogate pair, not text") from error
    return text


def _identifier(value: Any) -> str | int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, str | int)):
        raise ValueError("an id is a text or a whole number")
    return _whole(value) if isinstance(value, str) else value


# A union's errors name the branch that was meant. The tags are no part of the request: `app.py` leaves them out.
ONE, MANY = "<one>", "<many>"
Text = Annotated[str, AfterValidator(_whole)]
Identifier = Annotated[
    Any,
    AfterValidator(_identifier),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]}),
]
OneOrMany = Discriminator(lambda value: MANY if isinstance(value, list) else ONE)
OneText = Annotated[Text, Tag(ONE)]


def _integral(value: Any) -> Any:
    """JSON knows no difference between 1 and 1.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_integral)]


class Body(BaseModel):
    """What a client says is taken at its word: "1" is no number and "no" is not false."""

    model_config = ConfigDict(strict=True)


class TextPart(Body):
    """A text content part; images and audio are refused, not ignored."""

    type: Literal["text"]
    text: Text


class ChatMessage(Body):
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[OneText | Annotated[list[TextPart], Field(min_length=1), Tag(MANY)], OneOrMany]

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content)

    @model_validator(mode="after")
    def _says_something(self) -> "ChatMessage":
        if self.role == "user" and not self.text.strip():
            raise ValueError("the content of a user message must not be empty")
        return self

    def plain(self) -> Message:
        return {"role": "system" if self.role == "developer" else self.role, "content": self.text}


class StreamOptions(Body):
    include_usage: bool = False


class ModerationMode(Body):
    mode: Literal["score", "block"] = "score"


class ModerationPolicy(Body):
    input: ModerationMode = ModerationMode()
    output: ModerationMode = ModerationMode(mode="block")


class ModerationWish(Body):
    """Inline moderation. Input is scored, or blocks; output always blocks, whatever mode is asked for (law 1)."""

    model: str | None = None
    policy: ModerationPolicy = ModerationPolicy()


class ChatRequest(Body):
    """`POST /v1/chat/completions`. Keys that only tune a hosted service (user, metadata, store, ...) are accepted and unused."""

    model_config = ConfigDict(extra="ignore")

    model: str = "default"
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    n: Whole = Field(1, ge=1, le=MAX_CANDIDATES)
    candidates: Whole | None = Field(None, ge=1, le=MAX_CANDIDATES)
    max_tokens: Whole | None = Field(None, ge=1, le=1024)
    max_completion_tokens: Whole | None = Field(None, ge=1, le=1024)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    stop: Annotated[OneText | Annotated[list[Text], Field(max_length=4), Tag(MANY)], OneOrMany] | None = None
    seed: Whole | None = Field(None, ge=0, le=2**53)
    stream: bool = False
    stream_options: StreamOptions | None = None
    stream_mode: Literal["reply", "sentence"] = "reply"
    grounding: Literal["off", "cite", "research"] = "cite"
    ungrounded: Literal["keep", "mark", "drop"] | None = None
    explain: bool = False
    policy: Preset | None = None
    moderation: ModerationWish = ModerationWish()
    # Wishes that Winnow cannot fulfil: refused, not ignored.
    tools: None = None
    functions: None = None
    logprobs: Literal[False] | None = None
    audio: None = None
    response_format: Annotated[Json | None, WithJsonSchema(PLAIN_TEXT)] = None

    @field_validator("stop")
    @classmethod
    def _stop_strings(cls, value: str | list[str] | None) -> str | list[str] | None:
        if value is not None and not all([value] if isinstance(value, str) else value):
            raise ValueError("a stop string must not be empty")
        return value

    @field_validator("response_format")
    @classmethod
    def _plain_text(cls, value: Json | None) -> Json | None:
        if value is not None and value.get("type") != "text":
            raise ValueError("only the response format {'type': 'text'} is supported")
        return value

    @field_validator("messages")
    @classmethod
    def _user_asks(cls, value: list[ChatMessage]) -> list[ChatMessage]:
        if value[-1].role != "user":
            raise ValueError("the last message must be the user's")
        return value

    @field_validator("candidates")
    @classmethod
    def _enough_candidates(cls, value: int | None, info: ValidationInfo) -> int | None:
        n = info.data.get("n", 1)
        if value is not None and n > value:
            raise ValueError(f"n is {n}, more than the {value} candidates that are sampled")
        return value

    @property
    def stops(self) -> tuple[str, ...]:
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


class ModerationRequest(Body):
    """`POST /v1/moderations`: one text or several."""

    model_config = ConfigDict(extra="ignore")

    input: Annotated[OneText | Annotated[list[Text], Field(min_length=1), Tag(MANY)], OneOrMany]
    model: str | None = None

    @property
    def texts(self) -> list[str]:
        return [self.input] if isinstance(self.input, str) else self.input


class ScreenRequest(Body):
    """`POST /v1/screen`: a context and the caller's own candidates; without candidates the user's last turn is judged."""

    model_config = ConfigDict(extra="forbid")

    id: Identifier = None
    messages: list[ChatMessage] = Field(default_factory=list)
    candidates: Annotated[list[Text], Field(min_length=1, max_length=MAX_CANDIDATES)] | None = None
    explain: bool = False
    policy: Preset | None = None

    @model_validator(mode="after")
    def _something_to_judge(self) -> "ScreenRequest":
        if self.candidates is None and not (self.messages and self.messages[-1].role == "user"):
            raise ValueError("give candidates, or messages that end with the user's turn")
        return self


class GroundRequest(Body):
    """`POST /v1/ground`: a text to be grounded in the index, or in `sources` that come with it. `messages`: what it answers."""

    model_config = ConfigDict(extra="forbid")

    id: Identifier = None
    text: Text
    messages: list[ChatMessage] = Field(default_factory=list)
    sources: Annotated[list[Text], Field(max_length=MAX_SOURCES)] | None = None
    all_sentences: bool = False
