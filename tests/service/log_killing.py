"""Kills a server in the middle of its load and looks for what it had acknowledged: a program of its own, because it forks. Run by
test_log_killing.py.

    python -m tests.service.log_killing FOLDER TRIALS

For each trial a child serves a scripted corridor with a durable log under uvicorn; several clients ask it, streamed and not, until
it is killed (SIGKILL) at a random moment. A line of JSON for each trial: how many replies the clients had in whole, how many of
them the log lacks or tells otherwise, and how many decisions it holds.
"""

import json
import os
import random
import signal
import socket
import sys
import threading
import time
from itertools import count
from pathlib import Path

import httpx
import uvicorn

from service.app import create_app
from service.log_file import LogReader
from service.records import said_of
from tests.service.scripted import make_corridor

CLIENTS = 6
NUMBER = count()
HOW = ({}, {"stream": True}, {"stream": True, "stream_mode": "sentence"})


def serve(listener: socket.socket, path: Path) -> None:
    """In the child: answers with the nonce of the question until it is killed."""
    corridor = make_corridor(
        lambda messages, n, _: [f"Yes. You said {messages[-1]['content']}."] * n, decision_log=path, durable=True
    )
    server = uvicorn.Server(uvicorn.Config(create_app(corridor), log_config=None))
    server.run(sockets=[listener])


def ask(url: str, replies: dict[str, str], stop: threading.Event, most: int) -> None:
    """Keeps in `replies` what came in whole, by the id of the decision."""
    with httpx.Client(timeout=20) as client:
        while not stop.is_set() and len(replies) < most:
            nonce = f"nonce-{next(NUMBER)}"
            body = {"messages": [{"role": "user", "content": nonce}], "candidates": 2, "grounding": "off"}
            how = HOW[hash(nonce) % len(HOW)]
            try:
                text = client.post(f"{url}/chat/completions", json={**body, **how}).raise_for_status().text
            except httpx.HTTPError:
                return
            if not how:
                whole = json.loads(text)
                said = whole["choices"][0]["message"]["content"]
            else:
                *events, done, _ = text.split("\n\n")
                if done != "data: [DONE]":
                    return
                chunks = [json.loads(event.removeprefix("data: ")) for event in events if event.startswith("data: ")]
                whole = chunks[0]
                said = "".join(choice["delta"].get("content", "") for c in chunks for choice in c["choices"])
            assert said == f"Yes. You said {nonce}."
            replies[whole["id"]] = said


def trial(path: Path, seconds: float | None, replies: dict[str, str], most: int = 10**9) -> tuple[int, float]:
    """Serves and asks for so many seconds, or for so many replies; the child's wait status and how long it served."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)  # clients wait here until the child serves
    child = os.fork()
    if not child:
        serve(listener, path)
        os._exit(0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    listener.close()
    stop = threading.Event()
    threads = [threading.Thread(target=ask, args=(url, replies, stop, most)) for _ in range(CLIENTS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    if seconds is None:
        for thread in threads:
            thread.join()
    else:
        time.sleep(seconds)
    took = time.perf_counter() - began
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    stop.set()
    for thread in threads:
        thread.join()
    return status, took


def main() -> None:
    folder, trials = Path(sys.argv[1]), int(sys.argv[2])
    chance = random.Random(0)
    path = folder / "decisions.sqlite"
    replies: dict[str, str] = {}
    # How long thirty replies take here, so that kills fall into the load on any machine.
    took = trial(path, None, replies, 30)[1]
    for _ in range(trials):
        before = len(replies)
        status, _ = trial(path, chance.uniform(0.3, 1.3) * took, replies)
        with LogReader(path) as log:
            held = {record.id: record for record in log.decisions()}
        missing = [id for id in replies if id not in held]
        false = [id for id in replies if id in held and held[id].replies[0].said != said_of(replies[id])]
        row = {"killed": os.WIFSIGNALED(status), "acknowledged": len(replies) - before, "missing": len(missing)}
        print(json.dumps({**row, "false": len(false), "held": len(held)}), flush=True)


if __name__ == "__main__":
    main()
