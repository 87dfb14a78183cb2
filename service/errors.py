"""The error envelope: whatever goes wrong is answered in OpenAI's shape, with a status and a code, and without an error's own words
where those may quote what was said.

Knows errors, statuses and headers. Does not know routes.
"""

import logging
import math
from collections.abc import Callable, Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from service import request_id, requests, wire
from service.decision_log import LogFailed
from service.faults import describe
from service.generator import GeneratorFailed, PromptTooLong
from service.model_worker import Stalled
from service.pool import QueueFull, TooLate
from service.sentences import Withdrawn

log = logging.getLogger(__name__)


METHODS = ("GET", "HEAD", "POST")
"""All that this server's routes take."""


class Refused(ValueError):
    """A request that is well formed but over a limit of the settings."""

    def __init__(self, message: str, param: str, code: str = "invalid_value", status: int = 400) -> None:
        super().__init__(message)
        self.param, self.code, self.status = param, code, status


async def error_event(request: Request, error: Exception) -> bytes:
    """The envelope that the error would have been answered with, had no stream begun."""
    handlers = request.app.exception_handlers
    kind = next(kind for kind in type(error).__mro__ if kind in handlers)
    return bytes((await handlers[kind](request, error)).body)


def _allowed(request: Request) -> list[str]:
    """The methods of all routes of this path; the framework names those of the first alone."""

    def takes(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    return [method for method in METHODS if takes(method)]


def add_error_envelope(app: FastAPI, counted: Callable[[str], None]) -> None:
    """`counted` is told the code of each error, also of one that is an event of a stream."""

    def answer(
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> JSONResponse:
        kind = "invalid_request_error" if status < 500 and status != 429 else "server_error"
        counted(code or f"http_{status}")
        return JSONResponse(wire.error(message, kind, param, code), status, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            reason = first["ctx"]["error"]
            return answer(400, f"body: not JSON at character {first['loc'][-1]}: {reason}", None, "json_invalid")
        unnamed = ("body", "query", requests.ONE, requests.MANY)
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
        return answer(429, str(error), None, "queue_full", {"Retry-After": str(error.retry_after)})

    @app.exception_handler(TooLate)
    async def too_late(_: Request, error: TooLate) -> JSONResponse:
        return answer(504, str(error), None, "deadline_exceeded")

    @app.exception_handler(Stalled)
    async def stalled(_: Request, error: Stalled) -> JSONResponse:
        return answer(503, f"the model does not answer: {error}", None, "model_stalled", {"Retry-After": "60"})

    @app.exception_handler(Withdrawn)
    async def withdrawn(_: Request, error: Withdrawn) -> JSONResponse:
        return answer(500, str(error), None, "content_filter")

    @app.exception_handler(LogFailed)
    async def unlogged(_: Request, error: LogFailed) -> JSONResponse:
        message = "the reply was held back: its decision could not be written to the decision log"
        return answer(503, message, None, "decision_log_failed", {"Retry-After": "5"})

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(_allowed(request))
        return answer(error.status_code, str(error.detail), headers=headers)

    @app.exception_handler(Exception)
    async def unforeseen(_: Request, error: Exception) -> JSONResponse:
        log.error("unforeseen %s", describe(error))
        # The one answer that is given outside of all middleware.
        named = {request_id.HEADER: request_id.current.get() or ""}
        return answer(500, "internal error; the server's log says more", None, "internal_error", named)
