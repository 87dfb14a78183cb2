"""Limits on the bytes of a request: its head, and its body, declared or not. Pure ASGI; knows nothing of what they mean."""

import json
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.wire import Json, error


class _TooLarge(Exception):
    pass


class BodyLimit:
    """Middleware that answers 413 as soon as more than `max_bytes` bytes are declared or have arrived."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self._max_bytes:
            await self._refuse(send)
            return
        arrived = 0
        started = False

        async def counted() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > self._max_bytes:
                raise _TooLarge
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            if arrived > self._max_bytes and not started:
                return  # the app's own answer to a body that could not be read; ours follows
            started = True
            await send(message)

        with suppress(_TooLarge):
            await self._app(scope, counted, watched)
        if arrived > self._max_bytes and not started:
            await self._refuse(send)

    async def _refuse(self, send: Send) -> None:
        message = f"the request body has more than {self._max_bytes} bytes (max_body_bytes)"
        await _answer(send, 413, error(message, "invalid_request_error", "body", "body_too_large"))


class HeadLimit:
    """Middleware that answers 431 where address and headers have more than `max_bytes` bytes. The server's own limit is for heads that
    do not come to an end.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            size = len(scope.get("raw_path") or b"") + len(scope.get("query_string") or b"")
            size += sum(len(name) + len(value) for name, value in scope["headers"])
            if size > self._max_bytes:
                message = f"address and headers have more than {self._max_bytes} bytes (max_header_bytes)"
                await _answer(send, 431, error(message, "invalid_request_error", None, "headers_too_large"))
                return
        await self._app(scope, receive, send)


async def _answer(send: Send, status: int, envelope: Json) -> None:
    body = json.dumps(envelope).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
