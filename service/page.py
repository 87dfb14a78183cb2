"""The chat page: its files, and the headers under which a browser runs them and nothing else.

Knows files and headers. The page has no words of anybody in it: it asks the API for all that it shows, as any client does.
"""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

PAGES = Path(__file__).resolve().parent / "pages"
# No script but our files, no request but to this server; and text can become markup nowhere, whatever a script does (Trusted Types).
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
FILES = {
    "/": ("chat.html", "text/html"),
    "/page/chat.css": ("chat.css", "text/css"),
    "/page/icon.svg": ("icon.svg", "image/svg+xml"),
    **{
        f"/page/{name}.js": (f"{name}.js", "text/javascript")
        for name in ("chat", "dialogs", "drawer", "making", "reply", "server")
    },
}
"""Every path of the page, with its file and type. They need no key: what they ask for does."""


def page_router() -> APIRouter:
    """The routes of `FILES`, none of them in the API's own description."""
    router = APIRouter(include_in_schema=False)
    for path, (name, kind) in FILES.items():
        router.add_api_route(path, page_file(name, kind), methods=["GET", "HEAD"])
    return router


def page_file(name: str, kind: str) -> Callable[[], Coroutine[Any, Any, Response]]:
    """A route that serves a file of the pages."""

    async def serve() -> Response:
        return Response((PAGES / name).read_bytes(), media_type=f"{kind}; charset=utf-8", headers=HEADERS)

    return serve
