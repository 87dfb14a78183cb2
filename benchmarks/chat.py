"""Where the time of a 16-candidate reply goes: shares of generate, screen, rank and ground, over several questions.

    python benchmarks/chat.py [--candidates 16] [--tokens 64] [--repeats 5] [--card]

Prints medians with their range, and the same reply sampled without Winnow (transformers' generate, one reply) as the baseline.
"""

import argparse
import statistics
import time

import torch
from rich.console import Console
from rich.table import Table

from classifiers import DEFAULT_MODEL
from classifiers.card import add_benchmark
from classifiers.models import load
from classifiers.safety import SHIPPED
from service.assembly import assemble
from service.chat import Wants
from service.generator import Sampling
from service.settings import Settings

QUESTIONS = (
    "What is the capital of Kenya?",
    "How should I treat a small burn?",
    "What does a Python dictionary do?",
    "I had a bad day at work. Any ideas to cheer me up?",
    "Who invented the printing press?",
)
PHASES = ("generate", "screen", "rank", "ground")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5, help="questions asked, after one that is not counted")
    parser.add_argument("--card", action="store_true", help="put the share of screening into the weights' model card")
    options = parser.parse_args()

    corridor = assemble(Settings())
    wants = Wants(candidates=options.candidates, sampling=Sampling(max_tokens=options.tokens), seed=1)
    model, tokenizer = load(DEFAULT_MODEL)
    seconds: dict[str, list[float]] = {phase: [] for phase in (*PHASES, "whole reply", "plain generate, 1 reply")}
    sampled = []
    for number in range(options.repeats + 1):
        question = [{"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]}]
        decision = corridor.reply(question, wants)
        start = time.perf_counter()
        text = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
        prompt = tokenizer(text, add_special_tokens=False, return_tensors="pt")
        with torch.inference_mode():
            model.generate(
                **prompt, max_new_tokens=options.tokens, do_sample=True, top_k=40, temperature=0.7, pad_token_id=0
            )
        plain = time.perf_counter() - start
        if number == 0:  # warms caches and threads
            continue
        for phase in PHASES:
            seconds[phase].append(decision.seconds.get(phase, 0.0))
        seconds["whole reply"].append(sum(decision.seconds.values()))
        seconds["plain generate, 1 reply"].append(plain)
        sampled.append(sum(j.candidate.tokens for j in decision.judged) / seconds["generate"][-1])

    whole = statistics.median(seconds["whole reply"])
    table = Table(
        title=f"{options.candidates} candidates of at most {options.tokens} tokens, n = {options.repeats} questions"
    )
    for heading in ("phase", "median s", "range s", "share of the reply"):
        table.add_column(heading, justify="left" if heading == "phase" else "right")
    for phase, values in seconds.items():
        middle = statistics.median(values)
        table.add_row(phase, f"{middle:.2f}", f"{min(values):.2f}–{max(values):.2f}", f"{middle / whole:.1%}")
    Console().print(table)
    if options.card:
        shares = [
            screened / generated for screened, generated in zip(seconds["screen"], seconds["generate"], strict=True)
        ]
        row = {
            "name": f"share of time, {options.candidates} candidates of {options.tokens} tokens: screening by generating (least, most)",
            "target": "≤ 10%",
            "value": statistics.median(shares),
            "low": min(shares),
            "high": max(shares),
            "n": options.repeats,
            "prevalence": None,
            "baseline": "-",
            "command": "python benchmarks/chat.py --card",
        }
        add_benchmark(SHIPPED, row)
    screen, generate = statistics.median(seconds["screen"]), statistics.median(seconds["generate"])
    print(
        f"tokens per second while generating: {statistics.median(sampled):.0f}; screening / generating: {screen / generate:.1%}"
    )


if __name__ == "__main__":
    main()
