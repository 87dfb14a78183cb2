"""Who may come in: API keys, scopes and quotas at every door but those that are open to all.

Knows paths, headers and scopes. Reads no body: who has no key has nothing of theirs read.
"""

import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.body_limit import BodyLimit, HeadLimit
from service.keys import Key, KeyRing
from service.last_resort import LastResort
from service.quotas import Quota, Quotas
from service.security_headers import SecurityHeaders
from service.settings import Settings
from service.wire import error

NEEDS = {
    "/v1/chat/completions": "chat",
    "/v1/feedback": "chat",
    "/v1/moderations": "screen",
    "/v1/screen": "screen",
    "/v1/ground": "screen",
    "/metrics": "metrics",
}
"""The scope that a path needs. What is neither here nor open needs a key, whatever its scopes: a new door is shut."""

OPEN = ("/", "/healthz", "/readyz", "/docs", "/openapi.json")
OPEN_BELOW = ("/page/",)
"""What anybody may ask: whether the server lives, how it is asked, and the page, which asks for nothing without its user's key."""

RATE_HEADERS = [
    f"x-ratelimit-{which}-{what}" for what in ("requests", "tokens") for which in ("limit", "remaining", "reset")
]
READABLE = ["retry-after", "x-should-retry", "x-request-id", *RATE_HEADERS]
"""Headers of an answer that a page of another origin may read."""


@dataclass(frozen=True)
class Caller:
    """Who asks: the holder of a key, or anybody where the server has none."""

    key: Key | None = None
    quota: Quota | None = None

    @property
    def sees_dropped(self) -> bool:
        """Whether dropped texts may be shown (law 7): with a key for it alone. Without keys a server cannot tell its operator from
        whoever else reaches it: other users of the machine, a proxy in front of it, a page in the operator's browser.
        """
        return self.key is not None and "debug" in self.key.scopes

    def spend(self, tokens: int) -> None:
        """Takes tokens off the key's budget; see `quotas.cost`."""
        if self.quota:
            self.quota.spend(tokens)


def guard(app: FastAPI, settings: Settings) -> KeyRing | None:
    """Puts everything between the network and the routes: CORS, security headers, keys, quotas, the limits of head and body, and what
    catches an error that nothing else did. The keys in service; None where the settings name none.

    Raises `keys.KeysUnreadable`, OSError.
    """
    ring = KeyRing(settings.keys) if settings.keys else None
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)  # the innermost; each one goes around those before
    app.add_middleware(
        Access, ring=ring, origins=settings.cors_origins, only_local=not ring and not settings.insecure_no_keys
    )
    app.add_middleware(HeadLimit, max_bytes=settings.max_header_bytes)
    app.add_middleware(LastResort)
    app.add_middleware(SecurityHeaders)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=READABLE,
        )
    return ring


async def caller(request: Request) -> Caller:
    """Who asks; nobody in particular where nothing guards the application."""
    found = getattr(request.state, "caller", None)
    return found if isinstance(found, Caller) else Caller()


Asking = Annotated[Caller, Depends(caller)]
"""For a route's parameter: its `Caller`."""


class Access:
    """Middleware that lets in who may, and tells the routes who it is (`request.state.caller`)."""

    def __init__(
        self, app: ASGIApp, ring: KeyRing | None, origins: Collection[str] = (), only_local: bool = False
    ) -> None:
        """`only_local`: without keys, pages of other origins than this machine's and `origins` are refused, so that no page that the
        operator looks at, under whatever name it reaches this machine, can read their documents through the server.
        """
        self._app, self._ring, self._origins, self._only_local = app, ring, origins, only_local
        self._quotas = Quotas()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path in OPEN or path.startswith(OPEN_BELOW):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if self._ring is None:
            if self._only_local and not self._may_show(headers.get("origin")):
                message = "pages of other origins may not ask this server: name theirs in cors_origins, or give the server keys"
                await _refuse(403, message, "origin_not_allowed", {})(scope, receive, send)
                return
            await self._enter(Caller(), scope, receive, send)
            return
        presented = _bearer(headers.get("authorization", ""))
        key = await self._ring.find(presented.encode("latin-1")) if presented else None
        if key is None:
            wrong = "the API key is none of this server's, or no longer" if presented else "no API key was sent"
            message = f"{wrong}: send the header 'Authorization: Bearer KEY' with a key made by `winnow keys add`"
            await _refuse(401, message, "invalid_api_key", {"www-authenticate": "Bearer"})(scope, receive, send)
            return
        needed = NEEDS.get(path)
        if needed is not None and needed not in key.scopes:
            message = f"the key {key.name!r} lacks the scope {needed!r}, which {path} needs; it has: {', '.join(sorted(key.scopes))}"
            await _refuse(403, message, "missing_scope", {})(scope, receive, send)
            return
        quota = self._quotas.of(key)
        exhausted = quota.take(key)
        if exhausted:
            told = {**quota.headers(key), **exhausted.headers}
            await _refuse(429, exhausted.message, "rate_limit_exceeded", told, exhausted.what)(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(quota.headers(key))
            await send(message)

        await self._enter(Caller(key, quota), scope, receive, counted)

    async def _enter(self, who: Caller, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["caller"] = who
        await self._app(scope, receive, send)

    def _may_show(self, origin: str | None) -> bool:
        return origin is None or origin in self._origins or _is_local(origin)


def _bearer(authorization: str) -> str:
    """The key of the header; empty where there is none."""
    scheme, _, key = authorization.strip().partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _is_local(origin: str) -> bool:
    try:
        host = urlsplit(origin).hostname or ""
        return host == "localhost" or host.endswith(".localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse(
    status: int, message: str, code: str, headers: Mapping[str, str], kind: str = "invalid_request_error"
) -> JSONResponse:
    return JSONResponse(error(message, kind, None, code), status, dict(headers))
