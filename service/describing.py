"""The API's own document: which answers a route has, errors included, as /docs shows them and clients are made from.

Knows statuses and media types. What the answers are made of is known in `answers.py`.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.answers import ChatCompletionChunk, ErrorEnvelope

EVENTS = "text/event-stream"

ERRORS = {
    400: "The request is not one of this route, or over a limit: `param` names the field.",
    401: "No API key, or none of this server's.",
    403: "The key lacks the scope that this route needs; without keys: a page of another origin asks.",
    404: "There is no such route, model or decision.",
    408: "The request did not arrive in time (`arrival_seconds`).",
    413: "The body is too large (`max_body_bytes`).",
    429: "The queue is full, or the key has used up its requests or tokens: `Retry-After` says when to come back.",
    431: "Address and headers are too large (`max_header_bytes`).",
    500: "A fault of the server's; its log says more.",
    502: "The upstream server cannot be used.",
    503: "Something cannot be judged, written or asked now: `Retry-After` says when to come back, where that is known.",
    504: "The answer took too long (`request_seconds`), and was held back.",
}
ANYWHERE = (413, 431, 500, 503)
WITH_A_KEY = (*ANYWHERE, 401, 403, 429)
WITH_A_BODY = (*WITH_A_KEY, 400, 408, 504)

Responses = dict[int | str, dict[str, Any]]


def answers(model: type[BaseModel], *errors: int) -> Responses:
    """The answer that is hoped for, and every other."""
    named: Responses = {status: {"model": ErrorEnvelope, "description": ERRORS[status]} for status in sorted(errors)}
    return {200: {"model": model}, **named}


def streamed(responses: Responses) -> Responses:
    """The same of a route that can also answer in events."""
    said = (
        "Server-sent events: comments that say how far it has come, in counts; then `data: ` and a ChatCompletionChunk "
        "each, and `data: [DONE]`. What fails once it has begun is an ErrorEnvelope as the last event, without [DONE]."
    )
    told = [{"$ref": f"#/components/schemas/{each.__name__}"} for each in (ChatCompletionChunk, ErrorEnvelope)]
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": {"anyOf": told}}
    either = {"anyOf": [data, {"const": "[DONE]"}]}
    event = {"type": "object", "description": said, "properties": {"data": either}, "required": ["data"]}
    whole = {**responses[200], "content": {EVENTS: {"itemSchema": event}}}
    return {**responses, 200: whole}


def describe(app: FastAPI) -> None:
    """Gives the application a document of what it really answers: FastAPI's own promises 422 where a body is refused."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            for operations in made["paths"].values():
                for operation in operations.values():
                    operation["responses"].pop("422", None)
            schemas = made["components"]["schemas"]
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            chunk = models_json_schema(
                [(ChatCompletionChunk, "serialization")], ref_template="#/components/schemas/{model}"
            )[1]
            app.openapi_schema = {**made, "components": {"schemas": {**chunk["$defs"], **schemas}}}
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # as FastAPI's own documentation has it
