"""The doors: FastAPI routes. No logic; every route hands over to the corridor."""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from opentelemetry.trace import TracerProvider
from starlette.exceptions import HTTPException

from classifiers import Policy
from classifiers.policy import Preset
from classifiers.verdicts import UNSCORED
from service import requests, wire
from service.access import Asking, guard
from service.answers import ChatCompletion, Grounded, Healthy, Models, Moderations, PolicyInService, Screened
from service.answers import Readiness as Ready
from service.batch import screen_line
from service.batching import batched
from service.chat import Corridor, Wants
from service.decision_log import DecisionLog
from service.decisions import Decision
from service.describing import ANYWHERE, WITH_A_BODY, WITH_A_KEY, answers, describe, streamed
from service.errors import Refused, add_error_envelope, error_event
from service.feedback_door import feedback_router
from service.generator import LocalGenerator, Sampling
from service.grounding import ground_line
from service.metrics import Metrics
from service.model_worker import ModelWorker
from service.page import page_router
from service.pool import Pool
from service.quotas import cost
from service.readiness import Readiness
from service.reloading import Live
from service.request_id import carried
from service.sentences import by_sentence
from service.settings import Settings
from service.streaming import LEFT, Feed, stream, unless_left
from service.ticket import Ticket
from service.tracing import Tracing, telemetry
from service.upstream import UpstreamGenerator
from service.watching import Watching
from service.weights import Weights

T = TypeVar("T")
log = logging.getLogger(__name__)


def create_app(corridor: Corridor, tracer_provider: TracerProvider | None = None) -> FastAPI:
    """The web application around a loaded corridor. A new index in its folder and a changed policy file are taken up
    between two requests.

    Spans go to the `tracer_provider`; without one, to where the environment says, if it does (`tracing.py`).

    Raises `log_file.LogUnreadable`, `keys.KeysUnreadable`, OSError where the settings name a decision log that cannot be written, or
    keys that cannot be read.
    """
    settings = corridor.settings
    live = Live(corridor)
    tracing = Tracing(tracer_provider)
    metrics = Metrics(
        corridor.policy.objectives, lambda: {"generator": corridor.generator.name, **live.current().versions()}
    )
    local = corridor.generator if isinstance(corridor.generator, LocalGenerator) else None
    model_worker = ModelWorker(
        local,
        settings.batch_rows,
        settings.batch_wait_ms / 1000,
        settings.screen_seconds,
        settings.request_seconds,
        metrics.batch,
    )
    pool = Pool(settings.max_running, settings.max_queue, settings.request_seconds)
    decision_log = DecisionLog.of(settings)
    readiness = Readiness(live, Weights(corridor.weights), model_worker, decision_log)
    _tell(metrics, pool, readiness)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        pool.close()
        model_worker.close()
        if decision_log:
            await asyncio.to_thread(decision_log.close)

    app = FastAPI(
        title="Winnow",
        description="Screened, ranked and sourced chat replies.",
        lifespan=lifespan,
        telemetry=telemetry(tracer_provider),
    )
    ring = guard(app, settings)
    app.add_middleware(Watching, counted=metrics.request)
    app.include_router(page_router())
    app.include_router(feedback_router(corridor.policy, decision_log))
    add_error_envelope(app, metrics.error)
    describe(app)

    def run(work: Callable[[Corridor, Ticket], T], preset: Preset | None = None) -> Coroutine[Any, Any, T]:
        """Work for one request, with the corridor as it is now, as strict as the preset too, in a thread of its own."""

        def parts(ticket: Ticket) -> Corridor:
            return batched(live.current().tightened(preset), model_worker, ticket)

        return pool.run(carried(lambda ticket: work(parts(ticket), ticket)))

    @app.post(
        "/v1/chat/completions",
        response_model=None,
        responses=streamed(answers(ChatCompletion, *WITH_A_BODY, 404, 502)),
    )
    async def chat(asked: requests.ChatRequest, request: Request, caller: Asking) -> Response:
        wants = _wants(asked, corridor)
        messages = [message.plain() for message in asked.messages]
        loop = asyncio.get_running_loop()
        id, created = f"chatcmpl-{uuid.uuid4().hex}", int(time.time())
        traced = tracing.reply(wants, corridor.generator.name, asked.stream)

        def kept(decision: Decision) -> Decision:
            """The decision, under the id that the answer has, in the log: before any of its words leaves that waits for it."""
            found = replace(decision, id=id, created=created)
            loop.call_soon_threadsafe(caller.spend, cost(found))
            metrics.decided(found)
            tracing.decided(found)
            log.info("%s: %d sampled, %d dropped", id, len(found.judged), len(found.dropped), extra={"decision": id})
            if decision_log:
                decision_log.keep(found, messages, wants)
            return found

        if not asked.stream:
            whole = run(traced(lambda parts, _: (kept(parts.reply(messages, wants)), parts.policy)), wants.policy)
            decided = await unless_left(request, whole)
            if decided is None:
                return Response(status_code=LEFT)
            return JSONResponse(wire.completion(*decided, asked.explain, texts=caller.sees_dropped))
        feed = Feed()

        def reply(parts: Corridor, ticket: Ticket) -> tuple[Decision, Policy, list[str]]:
            if asked.stream_mode == "reply":
                return kept(parts.reply(messages, wants, feed.tell)), parts.policy, []
            head = wire.chunk_head(id, created, parts.generator.name, parts.versions())

            def sentence(choice: int, text: str, first: bool) -> None:
                feed.send(wire.sentence_chunk(head, choice, text, first))

            early = decision_log is None or not decision_log.durable
            decision, sent = by_sentence(parts, messages, wants, feed.tell, sentence, kept, early)
            return decision, parts.policy, sent

        def events(decided: tuple[Decision, Policy, list[str]]) -> Iterator[dict[str, Any]]:
            decision, policy, sent = decided
            include_usage = bool(asked.stream_options and asked.stream_options.include_usage)
            return wire.chunks(decision, policy, asked.explain, include_usage, sent, texts=caller.sees_dropped)

        return await stream(request, feed, run(traced(reply), wants.policy), events, partial(error_event, request))

    @app.post("/v1/moderations", response_model=None, responses=answers(Moderations, *WITH_A_BODY))
    async def moderations(asked: requests.ModerationRequest) -> dict[str, Any]:
        if len(asked.texts) > settings.max_screen_items:
            raise Refused(f"input holds {len(asked.texts)} texts; the limit is {settings.max_screen_items}", "input")
        verdicts, policy = await run(lambda parts, _: (parts.screen([], asked.texts, "user"), parts.policy))
        if any(UNSCORED in verdict.because for verdict in verdicts):
            raise HTTPException(503, "the input could not be judged")
        return wire.moderations(verdicts, policy, corridor.safety.version)

    @app.post("/v1/screen", response_model=None, responses=answers(Screened, *WITH_A_BODY))
    async def screen(asked: requests.ScreenRequest) -> dict[str, Any]:
        if len(asked.messages) > settings.max_messages:
            raise Refused(f"{len(asked.messages)} messages; the limit is {settings.max_messages}", "messages")
        line = {"id": asked.id, "messages": [m.plain() for m in asked.messages], "candidates": asked.candidates}

        def judged(parts: Corridor, _: Ticket) -> dict[str, Any]:
            found = screen_line(parts.screen, line, parts.explain if asked.explain else None)
            return {**found, "policy": parts.policy.fingerprint}

        found = await run(judged, asked.policy)
        if any(UNSCORED in row["because"] for row in [*found["verdicts"], found["prompt"] or {"because": []}]):
            raise HTTPException(503, "a text could not be judged")
        return found

    @app.post("/v1/ground", response_model=None, responses=answers(Grounded, *WITH_A_BODY))
    async def ground(asked: requests.GroundRequest) -> dict[str, Any]:
        if len(asked.messages) > settings.max_messages:
            raise Refused(f"{len(asked.messages)} messages; the limit is {settings.max_messages}", "messages")
        line = {
            "id": asked.id,
            "text": asked.text,
            "messages": [m.plain() for m in asked.messages],
            "sources": asked.sources,
        }
        return await run(
            lambda parts, _: ground_line(line, parts.index, parts.support_threshold, asked.all_sentences, parts.support)
        )

    @app.get("/v1/policy", response_model=None, responses=answers(PolicyInService, *WITH_A_KEY, 400))
    def policy(policy: Preset | None = None) -> dict[str, Any]:
        return wire.policy_row(live.current().tightened(policy).policy)

    @app.get("/v1/models", response_model=None, responses=answers(Models, *WITH_A_KEY))
    async def models() -> dict[str, Any]:
        return wire.models([corridor.generator.name, "default"])

    @app.get("/healthz", response_model=None, responses=answers(Healthy, *ANYWHERE))
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/metrics", include_in_schema=False)
    def scrape(request: Request) -> Response:
        content, media_type = metrics.page(request.headers.get("accept"))
        return Response(content, headers={"content-type": media_type})

    @app.get("/readyz", response_model=None, responses={**answers(Ready, *ANYWHERE), 503: {"model": Ready}})
    async def readyz(response: Response) -> dict[str, Any]:
        now = await asyncio.to_thread(live.current)
        reasons = await asyncio.to_thread(readiness.reasons)
        warnings = readiness.warnings()
        response.status_code = 503 if reasons else 200
        return {
            "status": "not ready" if reasons else "ready",
            **({"reasons": reasons} if reasons else {}),
            **({"warnings": warnings} if warnings else {}),
            "generator": corridor.generator.name,
            **({"precision": local.precision, "device": local.device} if local else {}),
            "safety": corridor.safety.version,
            "policy": f"{now.policy.preset} {now.policy.fingerprint}",
            "index": {
                "documents": now.index.document_count,
                "passages": len(now.index),
                "engine": now.index.engine,
                **({"warning": live.index_warning} if live.index_warning else {}),
            },
            "tools": corridor.toolset.installed,
            **({"decision_log": decision_log.state()} if decision_log else {}),
            **({"keys": {"warning": ring.warning}} if ring and ring.warning else {}),
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
    if candidates > settings.max_candidates:
        named = "candidates" if request.candidates else "n"
        raise Refused(f"{named} is {candidates}; the limit is {settings.max_candidates} (max_candidates)", named)
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
        policy=request.policy,
    )


def _tell(metrics: Metrics, pool: Pool, readiness: Readiness) -> None:
    """Have the states looked up whenever the metrics are asked for."""
    live, generator = readiness.live, readiness.live.current().generator
    metrics.queue(lambda: pool.waiting, lambda: pool.running)
    metrics.index(lambda: len(live.current().index))
    metrics.readiness(lambda: readiness.reasons(ask_upstream=False), readiness.warnings)
    if readiness.decision_log:
        metrics.decision_log(readiness.decision_log)
    if isinstance(generator, UpstreamGenerator):
        breaker = generator.client.breaker
        metrics.circuit(lambda: breaker.state)
