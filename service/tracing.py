"""OpenTelemetry spans of a reply: one for the whole, by the conventions for generative AI, and a child for each of its phases.

Without a provider of spans all this does nothing. Where the standard OTEL_ variables name an endpoint, FastAPI sets one up when the
server starts (extra `winnow[otel]`) and opens a span for each request, which ours are children of. No span holds a word of a
message or a reply.
"""

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode, TracerProvider

from service.chat import Wants
from service.clock import around
from service.decisions import Decision
from service.watching import QUIET


def telemetry(provider: TracerProvider | None) -> TelemetryConfig:
    """What FastAPI itself is to send: spans of requests, with this provider or that of the environment.

    No logs, whose exceptions would quote texts (law 7); no metrics, which are at /metrics.
    """
    return {
        "tracer_provider": provider,
        "tracing": True,
        "operation_spans": False,
        "logs": False,
        "metrics": False,
        "auto_configure": provider is None,
        "exclude": _quiet,
    }


class Tracing:
    """Opens spans, with the given provider or the process's own."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("winnow", tracer_provider=provider)

    @contextmanager
    def reply(self, wants: Wants, model: str, streams: bool) -> Iterator[None]:
        """A span while a reply is made, with its phases as children. Also a decorator of what makes the reply."""
        asked = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "winnow",
            "gen_ai.output.type": "text",
            "gen_ai.request.model": model,
            "gen_ai.request.stream": streams,
            "gen_ai.request.max_tokens": wants.sampling.max_tokens,
            "gen_ai.request.temperature": wants.sampling.temperature,
            "gen_ai.request.top_p": wants.sampling.top_p,
            **({"gen_ai.request.choice.count": wants.choices} if wants.choices > 1 else {}),
            **({} if wants.seed is None else {"gen_ai.request.seed": wants.seed}),
        }
        with self._span(f"chat {model}", asked):
            token = around.set(lambda phase: self._span(phase, {}))
            try:
                yield
            finally:
                around.reset(token)

    def decided(self, decision: Decision) -> None:
        """Tell the span of the reply, within which this is called, what was decided."""
        trace.get_current_span().set_attributes(_attributes(decision))

    @contextmanager
    def _span(self, name: str, attributes: dict[str, Any]) -> Iterator[Span]:
        with self._tracer.start_as_current_span(
            name,
            kind=SpanKind.INTERNAL,
            attributes=attributes,
            # An exception's message may quote a dropped text (law 7): its type is told, and no more.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except BaseException as error:
                span.set_attribute("error.type", type(error).__qualname__)
                span.set_status(StatusCode.ERROR)
                raise


def _attributes(decision: Decision) -> dict[str, Any]:
    return {
        "gen_ai.response.id": decision.id,
        "gen_ai.response.model": decision.model,
        "gen_ai.response.finish_reasons": [reply.finish_reason for reply in decision.replies],
        "gen_ai.usage.input_tokens": decision.prompt_tokens,
        "gen_ai.usage.output_tokens": sum(reply.tokens for reply in decision.replies),
        "winnow.candidates.sampled": len(decision.judged),
        "winnow.candidates.dropped": len(decision.dropped),
        "winnow.attempts": decision.attempts,
        "winnow.research.rounds": len(decision.rounds),
    }


def _quiet(scope: MutableMapping[str, Any]) -> bool:
    return scope.get("path") in QUIET
