"""How the server listens: at which address it may, and how long and large the head of a request may be.

Knows addresses and connections. Does not know what is asked.
"""

import asyncio
import ipaddress
import json
import socket
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.settings import Settings
from service.wire import error


def check_address(settings: Settings) -> None:
    """Raises ValueError where others than this machine would be served without keys, and nobody said that this is meant."""
    if settings.keys or settings.insecure_no_keys or _is_loopback(settings.host):
        return
    raise ValueError(
        f"host {settings.host!r} can be reached from other machines, and anybody could ask: make a key with `winnow keys add NAME "
        "--scope chat --keys keys.toml` and serve with --keys keys.toml, or say --insecure-no-keys if this is meant"
    )


def server_options(settings: Settings) -> dict[str, Any]:
    """What uvicorn is run with."""

    class Protocol(PatientFor):
        seconds = settings.arrival_seconds

    return {
        "host": settings.host,
        "port": settings.port,
        "log_config": None,  # logs.configure has seen to it
        "access_log": False,  # it would hold what clients write into addresses
        "server_header": False,
        "http": Protocol,
        "h11_max_incomplete_event_size": settings.max_header_bytes,
        "limit_concurrency": settings.max_connections,
        "timeout_graceful_shutdown": settings.drain_seconds,
    }


class PatientFor(H11Protocol):
    """uvicorn's connection, but a request that has not arrived whole within `seconds` of its first byte is answered 408, and the
    connection closed; so is a connection on which nothing arrives at first.
    """

    seconds: float
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        state = self.conn.their_state
        between = state is h11.IDLE and not self.conn.trailing_data[0]  # uvicorn's own keep-alive closes that
        if between or state not in (h11.IDLE, h11.SEND_BODY):
            self._stop()
        elif self._timer is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._timer = self.loop.call_later(self.seconds, self._late)

    def _stop(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = None

    def _late(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):  # nothing has been answered yet
            message = f"the request did not arrive within {self.seconds:g} s (arrival_seconds)"
            body = json.dumps(error(message, "invalid_request_error", None, "request_timeout")).encode()
            head = f"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close"
            self.transport.write(head.encode() + b"\r\n\r\n" + body)
        self.transport.close()


def _is_loopback(host: str) -> bool:
    if not host:
        return False  # every address there is
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False  # a name that nobody knows now may be known to the network later
    return all(_ip_is_loopback(str(address[0])) for *_, address in found)


def _ip_is_loopback(text: str) -> bool:
    address = ipaddress.ip_address(text)
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
