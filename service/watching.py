"""Middleware around every request: it gets an id, is timed and counted, and leaves a line in the log when it is over.

Pure ASGI. Knows routes, statuses and seconds. Does not know what is asked: no path as it was sent, no query and no body is looked at.
"""

import logging
import time
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import request_id

OTHER = "other"
"""The route of a request that no route matches: its path is the client's own words."""
UNANSWERED = 499
"""The status that is counted of a request whose client had left before an answer began."""
QUIET = ("/healthz", "/readyz", "/metrics")
"""Asked every few seconds by machines: their lines are logged at level DEBUG."""

log = logging.getLogger(__name__)


class Watching:
    """`counted` is called once for each request that is over: route as it is declared, status, seconds."""

    def __init__(self, app: ASGIApp, counted: Callable[[str, int, float], None]) -> None:
        self._app, self._counted = app, counted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        id = request_id.request_id(Headers(scope=scope).get(request_id.HEADER))
        # Never reset: the error handler outside of this middleware works in the same task, and a task has one request.
        request_id.current.set(id)
        started, status = time.perf_counter(), UNANSWERED

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[request_id.HEADER] = id
            await send(message)

        try:
            await self._app(scope, receive, named)
        except Exception:
            status = 500 if status == UNANSWERED else status
            raise
        finally:
            self._over(scope, status, time.perf_counter() - started)

    def _over(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", OTHER)
        self._counted(route, status, seconds)
        log.log(
            logging.DEBUG if route in QUIET and status < 400 else logging.INFO,
            "%s %s in %.3f s",
            route,
            status,
            seconds,
            extra={"route": route, "status": status, "seconds": round(seconds, 4)},
        )
