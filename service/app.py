"""The doors: FastAPI routes and the error envelope. No logic; every route hands over to the corridor."""

import asyncio
import json
import logging
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from fastapi.sse import format_sse_event
from starlette.exceptions import HTTPException

from classifiers.verdicts import UNSCORED
from service import requests, wire
from service.batch import screen_line
from service.body_limit import BodyLimit
from service.chat import Corridor, Wants
from service.decision_log import DecisionLog, LogFailed
from service.faults import describe
from service.feedback_door import feedback_router
from service.generator import Generator, GeneratorFailed, PromptTooLong, Sampling
from service.grounding import ground_line
from service.page import page_router
from service.reloading import Live
from service.settings import Settings
from service.worker import QueueFull, Worker

log = logging.getLogger(__name__)


class Refused(ValueError):
    """A request that is well formed but over a limit of the settings."""

    def __init__(self, message: str, param: str, code: str = "invalid_value", status: int = 400) -> None:
        super().__init__(message)
        self.param, self.code, self.status = param, code, status


def create_app(corridor: Corridor) -> FastAPI:
    """The web application around a loaded corridor. A new index in its folder is taken up between two requests.

    Raises `log_file.LogUnreadable`, OSError where the settings name a decision log that cannot be written.
    """
    settings = corridor.settings
    live = Live(corridor)
    worker = Worker(settings.max_queue)
    decision_log = DecisionLog.of(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        worker.close()
        if decision_log:
            await asyncio.to_thread(decision_log.close)

    app = FastAPI(title="Winnow", description="Screened, ranked and sourced chat replies.", lifespan=lifespan)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.include_router(page_router())
    app.include_router(feedback_router(corridor.policy, decision_log))
    _add_error_envelope(app)

    @app.post("/v1/chat/completions", response_model=None)
    async def chat(request: requests.ChatRequest) -> Response:
        wants = _wants(request, corridor)
        messages = [message.plain() for message in request.messages]
        decision = await worker.run(lambda: live.current().reply(messages, wants))
        if decision_log:
            await decision_log.keep(decision, messages, wants)
        if not request.stream:
            return JSONResponse(wire.completion(decision, corridor.policy, request.explain))
        include_usage = bool(request.stream_options and request.stream_options.include_usage)
        events = wire.chunks(decision, corridor.policy, request.explain, include_usage)

        async def stream() -> AsyncIterator[bytes]:
            for event in events:
                yield format_sse_event(data_str=json.dumps(event))
            yield format_sse_event(data_str="[DONE]")

        return StreamingResponse(stream(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})

    @app.post("/v1/moderations")
    async def moderations(request: requests.ModerationRequest) -> dict[str, Any]:
        if len(request.texts) > settings.max_screen_items:
            raise Refused(f"input holds {len(request.texts)} texts; the limit is {settings.max_screen_items}", "input")
        verdicts = await worker.run(lambda: corridor.screen([], request.texts, "user"))
        if any(UNSCORED in verdict.because for verdict in verdicts):
            raise HTTPException(503, "the input could not be judged")
        return wire.moderations(verdicts, corridor.policy, corridor.safety.version)

    @app.post("/v1/screen")
    async def screen(request: requests.ScreenRequest) -> dict[str, Any]:
        if len(request.messages) > settings.max_messages:
            raise Refused(f"{len(request.messages)} messages; the limit is {settings.max_messages}", "messages")
        line = {"id": request.id, "messages": [m.plain() for m in request.messages], "candidates": request.candidates}
        found = await worker.run(
            lambda: screen_line(corridor.screen, line, corridor.explain if request.explain else None)
        )
        if any(UNSCORED in row["because"] for row in [*found["verdicts"], found["prompt"] or {"because": []}]):
            raise HTTPException(503, "a text could not be judged")
        return found

    @app.post("/v1/ground")
    async def ground(request: requests.GroundRequest) -> dict[str, Any]:
        if len(request.messages) > settings.max_messages:
            raise Refused(f"{len(request.messages)} messages; the limit is {settings.max_messages}", "messages")
        line = {
            "id": request.id,
            "text": request.text,
            "messages": [m.plain() for m in request.messages],
            "sources": request.sources,
        }
        return await worker.run(
            lambda: ground_line(
                line,
                live.current().index,
                corridor.support_threshold,
                request.all_sentences,
                corridor.support,
            )
        )

    policy_row = wire.policy_row(corridor.policy)

    @app.get("/v1/policy")
    async def policy() -> dict[str, Any]:
        return policy_row

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return wire.models([corridor.generator.name, "default"])

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz(response: Response) -> dict[str, Any]:
        index = (await asyncio.to_thread(live.current)).index
        reason = await asyncio.to_thread(_unready, corridor.generator)
        response.status_code = 503 if reason else 200
        return {
            "status": "not ready" if reason else "ready",
            **({"reasons": [reason]} if reason else {}),
            "generator": corridor.generator.name,
            "safety": corridor.safety.version,
            "policy": f"{corridor.policy.preset} {corridor.policy.fingerprint}",
            "index": {
                "documents": index.document_count,
                "passages": len(index),
                "engine": index.engine,
                **({"warning": live.warning} if live.warning else {}),
            },
            "tools": corridor.toolset.installed,
            **({"decision_log": decision_log.state()} if decision_log else {}),
        }

    return app


def _wants(request: requests.ChatRequest, corridor: Corridor) -> Wants:
    settings: Settings = corridor.settings
    if request.model not in ("default", corridor.generator.name):
        known = f"known: default, {corridor.generator.name}"
        raise Refused(f"model {request.model!r} is not served here; {known}", "model", "model_not_found", 404)
    if len(request.messages) > settings.max_messages:
        raise Refused(f"{len(request.messages)} messages; the limit is {settings.max_messages}", "messages")
    ungrounded = request.ungrounded or settings.ungrounded
    if ungrounded == "drop" and request.grounding == "off":
        whose = "" if request.ungrounded else " by the server's setting"
        raise Refused(
            f"ungrounded is 'drop'{whose}, which needs grounding 'cite' or 'research', not 'off'", "ungrounded"
        )
    candidates = request.candidates or max(settings.candidates, request.n)
    return Wants(
        candidates=candidates,
        choices=request.n,
        sampling=Sampling(
            max_tokens=request.max_completion_tokens or request.max_tokens or settings.max_tokens,
            temperature=settings.temperature if request.temperature is None else request.temperature,
            top_p=settings.top_p if request.top_p is None else request.top_p,
            stop=request.stops,
        ),
        seed=request.seed,
        grounding=request.grounding,
        ungrounded=ungrounded,
        block_input=request.moderation.policy.input.mode == "block",
    )


def _unready(generator: Generator) -> str | None:
    """Why an upstream server cannot be asked now; None where it can, and of a local model."""
    look = getattr(generator, "unready", None)
    return look() if look else None


def _add_error_envelope(app: FastAPI) -> None:
    def answer(
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> JSONResponse:
        kind = "invalid_request_error" if status < 500 and status != 429 else "server_error"
        return JSONResponse(wire.error(message, kind, param, code), status, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            reason = first["ctx"]["error"]
            return answer(400, f"body: not JSON at character {first['loc'][-1]}: {reason}", None, "json_invalid")
        unnamed = ("body", requests.ONE, requests.MANY)
        param = ".".join(str(part) for part in first["loc"] if part not in unnamed) or None
        message = first["msg"].removeprefix("Value error, ")
        return answer(400, f"{param or 'body'}: {message}", param, first["type"])

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> JSONResponse:
        return answer(error.status, str(error), error.param, error.code)

    @app.exception_handler(PromptTooLong)
    async def too_long(_: Request, error: PromptTooLong) -> JSONResponse:
        return answer(400, f"messages: {error} (max_input_tokens)", "messages", "context_length_exceeded")

    @app.exception_handler(GeneratorFailed)
    async def failed(_: Request, error: GeneratorFailed) -> JSONResponse:
        wait = error.retry_after
        headers = None if wait is None else {"Retry-After": str(math.ceil(wait))}
        return answer(error.status, str(error), None, error.code, headers)

    @app.exception_handler(QueueFull)
    async def busy(_: Request, error: QueueFull) -> JSONResponse:
        return answer(429, str(error), None, "queue_full", {"Retry-After": "5"})

    @app.exception_handler(LogFailed)
    async def unlogged(_: Request, error: LogFailed) -> JSONResponse:
        message = "the reply was held back: its decision could not be written to the decision log"
        return answer(503, message, None, "decision_log_failed", {"Retry-After": "5"})

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, str(error.detail), headers=error.headers)

    @app.exception_handler(Exception)
    async def unforeseen(_: Request, error: Exception) -> JSONResponse:
        log.error("unforeseen %s", describe(error))
        return answer(500, "internal error; the server's log says more", None, "internal_error")
