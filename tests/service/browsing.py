"""A headless Chromium for what only a browser can show, and a stand-in server that answers the chat page as a test tells it to.

CHROMIUM in the environment names the browser's program; without it the usual names are looked for.
"""

import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from service import wire
from service.chat import Wants
from service.feedback_door import feedback_router
from service.page import page_router
from tests.service.scripted import ASKS_KENYA, KENYA, POLICY, make_corridor

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = "no Chromium was found: install one (Debian: apt-get install chromium), or name its program in CHROMIUM"


def chromium() -> str | None:
    """The program's path; None where there is no browser. Raises FileNotFoundError where CHROMIUM names none."""
    named = os.environ.get("CHROMIUM")
    if named is None:
        return next(filter(None, map(shutil.which, NAMES)), None)
    if not os.access(named, os.X_OK) or Path(named).is_dir():
        raise FileNotFoundError(f"CHROMIUM is {named!r}, which is no program")
    return named


class Watched:
    """A page with what happened on it that must not: `faults` are script errors, breaches of the content security policy and requests
    to other servers.
    """

    def __init__(self, context: Any, home: str) -> None:
        self.faults: list[str] = []
        self.home = home
        context.add_init_script(
            "document.addEventListener('securitypolicyviolation', e => console.error('CSP', e.violatedDirective, e.blockedURI))"
        )
        self.page = context.new_page()
        self.page.set_default_timeout(20_000)
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("console", self._on_console)
        self.page.on("dialog", self._on_dialog)
        self.page.on("request", self._on_request)
        self.page.goto(home)

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            self.faults.append(message.text)

    def _on_dialog(self, dialog: Any) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _on_request(self, request: Any) -> None:
        if not request.url.startswith(self.home):
            self.faults.append(f"request to {request.url}")


Chat = Callable[[dict[str, Any], Request], AsyncIterator[bytes]]


def stand_in(chat: Chat) -> FastAPI:
    """The chat page before a server whose chat route streams what `chat(body, request)` yields; what that raises breaks it off."""
    app = FastAPI()
    app.include_router(page_router())
    app.include_router(feedback_router(POLICY, None))

    @app.get("/v1/policy")
    async def policy() -> dict[str, Any]:
        return wire.policy_row(POLICY)

    @app.post("/v1/chat/completions")
    async def answer(body: dict[str, Any], request: Request) -> StreamingResponse:
        return StreamingResponse(chat(body, request), media_type="text/event-stream")

    return app


def events(text: str = KENYA) -> list[bytes]:
    """A whole answer of Winnow's, [DONE] and all, as it is streamed."""
    decision = make_corridor([text]).reply(ASKS_KENYA, Wants(candidates=2, seed=1))
    chunks = wire.chunks(decision, POLICY, explain=True, include_usage=False)
    return [*(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks), b"data: [DONE]\n\n"]
