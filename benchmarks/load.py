"""Many clients at once against the same requests one at a time, over HTTP, on the same machine in the same run.

    python benchmarks/load.py [--clients 32] [--candidates 16] [--tokens 64] [--grounding cite] [--rows 64] [--random]

Every request has a seed of its own; an answer whose record names another is mixed up. Prints replies a second, P50 and P95 seconds,
candidates in a pass, errors, mixed-up answers, and how many texts are the same in company as alone (in half precision another batch
size may turn a draw). Ends with status 1 when an answer is missing or mixed up. `--random`: a model of random weights and a classifier
that passes everything, to try the script in seconds; its figures say nothing of the true model.
"""

import argparse
import asyncio
import socket
import statistics
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import torch
import uvicorn
from rich.console import Console
from rich.table import Table

from classifiers import DEFAULT_MODEL, OBJECTIVES, load_policy, models
from service.app import create_app
from service.assembly import assemble, load_index
from service.chat import Corridor
from service.generator import LocalGenerator
from service.settings import Settings

QUESTIONS = (
    "What is the capital of Kenya?",
    "How should I treat a small burn?",
    "What does a Python dictionary do?",
    "I had a bad day at work. Any ideas to cheer me up?",
    "Who invented the printing press?",
    "Tell me something about bees and how they make honey, please.",
    "Hello!",
    "Why is the sky blue? My daughter asked me, and I did not know what to tell her.",
)
TARGET = 2.5


@dataclass(frozen=True)
class Answered:
    """One request: its seconds, its status and the body of the answer."""

    seconds: float
    status: int
    body: Mapping[str, Any]

    @property
    def text(self) -> str | None:
        return self.body["choices"][0]["message"]["content"] if self.status == 200 else None


class Passing:
    """A classifier that finds nothing wrong with anything."""

    version = "none"

    def scores(self, context: Any, replies: Sequence[str], role: str = "assistant") -> list[dict[str, float]]:
        return [dict.fromkeys(OBJECTIVES, 0.0) for _ in replies]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--candidates", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--grounding", choices=("cite", "off"), default="cite")
    parser.add_argument("--rows", type=int, default=64, help="candidates in one step of the model (batch_rows)")
    parser.add_argument("--random", action="store_true", help="random weights: only to try the script")
    options = parser.parse_args()

    settings = Settings(
        batch_rows=options.rows, max_running=options.clients, max_queue=options.clients, request_seconds=3600
    )
    corridor = random_corridor(settings) if options.random else assemble(settings)
    bodies = [
        {
            "messages": [{"role": "user", "content": QUESTIONS[i % len(QUESTIONS)]}],
            "seed": 1000 + i,
            "candidates": options.candidates,
            "max_tokens": options.tokens,
            "grounding": options.grounding,
        }
        for i in range(options.clients)
    ]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(create_app(corridor), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            asyncio.run(ask(url, bodies[:1], 1))  # warms caches and threads
            alone = asyncio.run(ask(url, bodies, 1))
            together = asyncio.run(ask(url, bodies, options.clients))
        finally:
            server.should_exit = True
            thread.join()

    title = f"{options.clients} requests, {options.candidates} candidates of at most {options.tokens} tokens, "
    title += f"grounding {options.grounding}"
    table = Table(title=title + (", random weights" if options.random else ""))
    for heading in ("clients at once", "whole s", "replies/s", "P50 s", "P95 s", "errors", "mixed up"):
        table.add_column(heading, justify="right")
    for at_once, (whole, answers) in ((1, alone), (options.clients, together)):
        seconds = sorted(answer.seconds for answer in answers)
        table.add_row(
            str(at_once),
            f"{whole:.1f}",
            f"{len(answers) / whole:.2f}",
            f"{statistics.median(seconds):.2f}",
            f"{seconds[min(len(seconds) - 1, round(0.95 * len(seconds)))]:.2f}",
            str(errors(answers)),
            str(mixed_up(answers, bodies)),
        )
    Console().print(table)
    same = sum(a.text == b.text for a, b in zip(alone[1], together[1], strict=True))
    print(f"throughput, together : one at a time = {alone[0] / together[0]:.2f} (target {TARGET} or more)")
    print(f"the same text in company as alone: {same} of {len(bodies)}")
    wrong = sum(errors(answers) + mixed_up(answers, bodies) for _, answers in (alone, together))
    sys.exit(1 if wrong else 0)


async def ask(url: str, bodies: Sequence[Mapping[str, Any]], at_once: int) -> tuple[float, list[Answered]]:
    """The seconds that all took together, and each answer, with so many clients at once."""
    places = asyncio.Semaphore(at_once)
    async with httpx.AsyncClient(base_url=url, timeout=3600, limits=httpx.Limits(max_connections=at_once)) as client:

        async def one(body: Mapping[str, Any]) -> Answered:
            async with places:
                started = time.perf_counter()
                response = await client.post("/v1/chat/completions", json=body)
                return Answered(time.perf_counter() - started, response.status_code, response.json())

        started = time.perf_counter()
        answers = await asyncio.gather(*map(one, bodies))
        return time.perf_counter() - started, list(answers)


def errors(answers: Sequence[Answered]) -> int:
    return sum(answer.status != 200 for answer in answers)


def mixed_up(answers: Sequence[Answered], bodies: Sequence[Mapping[str, Any]]) -> int:
    """Answers whose record names another request's seed."""
    return sum(
        answer.status == 200 and answer.body["winnow"]["seed"] != body["seed"]
        for answer, body in zip(answers, bodies, strict=True)
    )


def random_corridor(settings: Settings) -> Corridor:
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(models.resolve(DEFAULT_MODEL), local_files_only=True)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=True,
    )
    generator = LocalGenerator("random", LlamaForCausalLM(config).eval(), tokenizer)
    return Corridor(generator, Passing(), load_policy(settings.policy), load_index(settings), settings)


if __name__ == "__main__":
    main()
