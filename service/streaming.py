"""Server-sent events while a request is worked on: comments that say how far it has come, then the answer, or an error and the end.

Knows events, connections and who has left. Does not know what an answer is made of.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from fastapi.sse import format_sse_event
from starlette.types import Receive, Scope, Send

T = TypeVar("T")
Json = dict[str, Any]

STILL_SECONDS = 2.0
"""After so long without a word a comment says that somebody is still at it: clients and proxies give up on silence."""
LEFT = 499
"""The status that is logged of a request whose client has left; nobody reads it."""


class Feed:
    """From the request's thread to its connection, in order."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.items: asyncio.Queue[bytes | None] = asyncio.Queue()

    def tell(self, note: str) -> None:
        """A comment. Never words of a candidate: comments leave before anything is judged (law 1)."""
        self._put(format_sse_event(comment=note))

    def send(self, chunk: Json) -> None:
        """A part of the answer."""
        self._put(format_sse_event(data_str=json.dumps(chunk)))

    def _put(self, item: bytes) -> None:
        with suppress(RuntimeError):  # the loop has ended, and so has the connection
            self._loop.call_soon_threadsafe(self.items.put_nowait, item)


async def unless_left(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of the work, which is cancelled when the client leaves before: then None."""
    task, left = asyncio.create_task(work), asyncio.create_task(_left(request))
    task.add_done_callback(_noted)
    try:
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()
        left.cancel()


async def stream(
    request: Request,
    feed: Feed,
    work: Coroutine[Any, Any, T],
    events: Callable[[T], Iterator[Json]],
    failed: Callable[[Exception], Awaitable[bytes]],
) -> Response:
    """An answer as events: what the feed brings while `work` runs, then `events` of its result and [DONE].

    What fails before the feed brought anything is raised; what fails later is the last event, JSON by `failed`. When the client
    leaves, the work is cancelled.
    """
    task = asyncio.create_task(work)
    task.add_done_callback(_noted)
    task.add_done_callback(lambda _: feed.items.put_nowait(None))
    try:
        first = await unless_left(request, _next(feed))
    except BaseException:
        task.cancel()
        raise
    if first is None and not task.done():
        task.cancel()
        return Response(status_code=LEFT)
    if first is None:
        task.result()

    async def body() -> Any:
        item = first
        while item is not None:
            yield item
            item = await _next(feed)
        try:
            for event in events(task.result()):
                yield format_sse_event(data_str=json.dumps(event))
        except Exception as error:
            yield format_sse_event(data_str=(await failed(error)).decode())
        else:
            yield format_sse_event(data_str="[DONE]")

    return _Stream(task, body())


class _Stream(StreamingResponse):
    """A stream whose work ends with it, however it ends."""

    def __init__(self, task: "asyncio.Task[Any]", body: Any) -> None:
        super().__init__(body, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._task = task

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._task.cancel()


async def _next(feed: Feed) -> bytes | None:
    try:
        return await asyncio.wait_for(feed.items.get(), STILL_SECONDS)
    except TimeoutError:
        return format_sse_event(comment="still working")


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _noted(task: "asyncio.Task[Any]") -> None:
    # An error that nobody waits for any more would be logged by asyncio with its words, which may quote a dropped text (law 7).
    if not task.cancelled():
        task.exception()
