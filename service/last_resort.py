"""What becomes of an error that nothing else caught: an answer, and a line in the log without the error's message.

A server that met the exception itself would log its message, which may quote what a user or a dropped candidate says (law 7).
"""

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class CutOff(RuntimeError):
    """An answer broke off after it had begun; why is in the log."""


class LastResort:
    """Middleware that answers with the application's own handler of `Exception`. Raises `CutOff` where an answer had begun."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
            return
        except Exception as error:
            response = await scope["app"].exception_handlers[Exception](Request(scope), error)
        # Not within the `except`, where the new error would carry the old one's message along.
        if started:
            raise CutOff("an answer broke off; the log says where")
        await response(scope, receive, send)
