"""One Settings object for the whole service: defaults, under a TOML file, under the environment (WINNOW_...).

Knows names, ranges and defaults. Does not load anything.
"""

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from classifiers import DEFAULT_MODEL


class Settings(BaseSettings):
    """What an operator can set, as WINNOW_NAME in the environment or name = value in winnow.toml."""

    model_config = SettingsConfigDict(env_prefix="WINNOW_", toml_file="winnow.toml", extra="forbid")

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on")
    model: str = Field(DEFAULT_MODEL, description="chat model, by name or path")
    precision: Literal["int8", "native"] = Field(
        "int8", description="of the model's products: eight bits where model and machine allow, or the model's own"
    )
    keys: Path | None = Field(
        None,
        description="file of API keys made by `winnow keys add`; default: none, and anybody who reaches it may ask",
    )
    insecure_no_keys: bool = Field(False, description="listen for other machines without keys: anybody may ask")
    cors_origins: list[str] = Field(
        default_factory=list,
        description="origins of web pages that may ask, like https://chat.example.org; default: none",
    )
    policy: str = Field("balanced", description="preset or path of a policy file")
    index: Path | None = Field(
        None, description="folder of an index made by `winnow index`; default: the sample corpus"
    )

    upstream: str | None = Field(
        None,
        description="base URL of an OpenAI-compatible server that the candidates come from, instead of the model; "
        "its key is read from WINNOW_UPSTREAM_KEY",
    )
    upstream_model: str | None = Field(
        None, description="model of the upstream server; default: the one that it lists, where it lists one"
    )
    upstream_connect_seconds: float = Field(5.0, gt=0, description="time limit for a connection to the upstream")
    upstream_read_seconds: float = Field(60.0, gt=0, description="time without a byte after which an upstream is slow")
    upstream_seconds: float = Field(
        120.0, gt=0, description="time limit for one draw of candidates from the upstream, retries included"
    )
    upstream_retries: int = Field(
        2, ge=0, le=10, description="retries of a call that the upstream failed or refused as busy"
    )
    upstream_parallel: int = Field(8, ge=1, le=256, description="calls to the upstream side by side")

    translator: str | None = Field(
        None, description="translation model for the toolset, by path or cached name; default: none"
    )

    candidates: int = Field(16, ge=1, le=64, description="replies sampled for one answer")
    max_tokens: int = Field(96, ge=1, le=1024, description="tokens in a candidate when the request names no limit")
    temperature: float = Field(0.7, ge=0, le=2, description="of sampling where the request names none; 0: greedy")
    top_p: float = Field(0.95, gt=0, le=1, description="of sampling where the request names none")

    max_candidates: int = Field(64, ge=1, le=64, description="candidates that a request may ask for")
    max_messages: int = Field(100, ge=1, description="messages in a request")
    max_input_tokens: int = Field(2048, ge=16, description="tokens of conversation that the model is given")
    max_body_bytes: int = Field(1_000_000, ge=1000, description="bytes of a request body")
    max_header_bytes: int = Field(16_384, ge=1024, description="bytes of a request's first line and headers")
    max_connections: int = Field(512, ge=1, description="connections at the same time; further ones are answered 503")
    arrival_seconds: float = Field(30.0, gt=0, description="time limit for a request to arrive whole")
    max_screen_items: int = Field(64, ge=1, description="texts in one moderation request")
    screen_seconds: float = Field(60.0, gt=0, description="time limit for judging the candidates of one answer")
    max_running: int = Field(32, ge=1, le=256, description="requests that are worked on at the same time")
    max_queue: int = Field(64, ge=1, description="requests that may wait until others are done")
    request_seconds: float = Field(120.0, gt=0, description="time limit of a request, waiting included")
    drain_seconds: int = Field(
        30, ge=0, description="how long requests that run may go on after the server is told to stop"
    )
    batch_rows: int = Field(64, ge=1, le=1024, description="candidates of all requests in one step of the model")
    batch_wait_ms: float = Field(
        5.0, ge=0, le=1000, description="how long an idle model waits for a second request to begin with the first"
    )

    support_threshold: float | None = Field(
        None, gt=0, le=1, description="support from which a sentence is cited; default: the support classifier's own"
    )
    evidence_relevance: float = Field(
        0.3, gt=0, le=1, description="probability of bearing on the question from which a passage is shown as evidence"
    )
    ungrounded: Literal["keep", "mark", "drop"] = Field(
        "mark", description="unsupported claims: sent as they are, sent and listed, or their reply not sent"
    )
    research_seconds: float = Field(60.0, gt=0, description="no round of research begins after so long")

    log_format: Literal["text", "json"] = Field(
        "text", description="lines of the server's log: for people, or an object a line for machines"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="from which level on Winnow's own lines are logged; each request is one at info"
    )

    decision_log: Path | None = Field(
        None, description="SQLite file that every reply's decision is logged in; default: none"
    )
    durable: bool = Field(
        False, description="no word of a reply leaves before its decision is on the disk; else a moment after"
    )
    retain_texts: bool = Field(
        False, description="log what users, candidates and replies say, dropped ones too; else digests and lengths"
    )
    retention_days: float = Field(30, ge=0, description="days that a logged decision is kept; 0: for good")

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: list[str]) -> list[str]:
        for origin in value:
            parts = urlsplit(origin)
            if (
                parts.scheme not in ("http", "https")
                or not parts.netloc
                or origin != f"{parts.scheme}://{parts.netloc}"
            ):
                raise ValueError(f"{origin!r} is no origin like https://chat.example.org, without a path")
        return value

    @model_validator(mode="after")
    def _no_more_candidates_than_may_be_asked_for(self) -> "Settings":
        if self.candidates > self.max_candidates:
            raise ValueError(f"candidates is {self.candidates}, more than the {self.max_candidates} of max_candidates")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)
