"""A second Winnow as a process of its own, as an upstream server that can be killed, frozen, slowed and made to answer rubbish.

Run as `python -m tests.service.second_winnow PORT`. Every text that it says or spoils holds `MARK`, about every third `UNSAFE`, and no
two are alike. Its own filter lets everything pass.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

MARK, UNSAFE = "zebra", "bomb"

SPOILT = f"A {UNSAFE} for the {MARK}."
MODES = {
    "honest": None,
    "no json": (200, f"<html>{SPOILT}</html>".encode()),
    "no object": (200, json.dumps([SPOILT]).encode()),
    "no choices": (200, json.dumps({"text": SPOILT}).encode()),
    "no text": (200, json.dumps({"choices": [{"message": {"content": [SPOILT]}}]}).encode()),
    "null": (200, json.dumps({"choices": [{"message": {"content": None, "reasoning": SPOILT}}]}).encode()),
    "tool call": (
        200,
        json.dumps({"choices": [{"message": {"content": None, "tool_calls": [{"id": SPOILT}]}}]}).encode(),
    ),
    "cut off": (200, json.dumps({"choices": [{"message": {"content": SPOILT}}]}).encode()[:-9]),
    "not UTF-8": (200, b'{"choices": [{"message": {"content": "' + SPOILT.encode() + b'\xff"}}]}'),
    "oversized": (200, json.dumps({"choices": [{"message": {"content": SPOILT * 200_000}}]}).encode()),
    "deep": (200, b"[" * 200_000 + SPOILT.encode()),
    "redirect": (302, SPOILT.encode()),
    "refusal": (400, json.dumps({"error": {"message": SPOILT, "param": SPOILT}}).encode()),
    "busy": (429, json.dumps({"error": {"message": SPOILT}}).encode()),
    "failing": (500, json.dumps({"error": {"message": SPOILT}}).encode()),
    "unavailable": (503, SPOILT.encode()),
    "slow": 5.0,
    "dripping": 0.1,
}
"""What the chat route answers: status and body, or seconds that it takes; of "dripping", between two bytes."""


class SecondWinnow:
    """The process, from outside."""

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._process = None

    def start(self):
        """Returns when it answers."""
        command = [sys.executable, "-m", "tests.service.second_winnow", str(self.port)]
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(1200):
            assert self._process.poll() is None
            try:
                httpx.get(f"{self.url}/models")
                return
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError("the second Winnow did not start")

    def kill(self):
        if self._process:
            self._process.kill()
            self._process.wait()

    def freeze(self):
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self._process.send_signal(signal.SIGCONT)

    def turn(self, mode):
        httpx.post(f"{self.url}/mode", content=mode).raise_for_status()


class Moody:
    """The application, but for what the mode says of its chat route."""

    def __init__(self, app):
        self._app, self._mode = app, "honest"

    async def __call__(self, scope, receive, send):
        path = scope.get("path")
        if path == "/v1/mode":
            self._mode = (await receive())["body"].decode()
            assert self._mode in MODES
            return await answer(send, 200, [b"ok"])
        mood = MODES[self._mode] if path == "/v1/chat/completions" else None
        if isinstance(mood, tuple):
            return await answer(send, *mood[:1], [mood[1]])
        if mood is not None:
            whole = json.dumps({"choices": [{"message": {"content": SPOILT}}]}).encode()
            pieces = [whole[i : i + 1] for i in range(len(whole))] if mood < 1 else [whole]
            return await answer(send, 200, pieces, mood)
        return await self._app(scope, receive, send)


async def answer(send, status, pieces, seconds=0.0):
    await send({"type": "http.response.start", "status": status, "headers": [(b"location", b"http://127.0.0.1:9/")]})
    for piece in pieces:
        await asyncio.sleep(seconds)
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def says(messages, n, sampling):
    """Texts that no other process, request or choice gives."""
    made = []
    for i in range(n):
        name = os.urandom(6).hex()
        made.append(f"A {UNSAFE} for {MARK} {name}." if (sampling.seed + i) % 3 == 0 else f"Hay for {MARK} {name}.")
    return made


def main():
    import uvicorn

    from service.app import create_app
    from tests.service.scripted import make_corridor

    app = Moody(create_app(make_corridor(says)))
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="critical")


if __name__ == "__main__":
    main()
