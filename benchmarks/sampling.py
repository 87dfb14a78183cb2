"""Candidates: how fast they come beside what people use today, what sixteen cost beside one, and how near a step is to the floor."""

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from benchmarks import floor
from benchmarks.charts import Chart, Line
from benchmarks.figures import Row, Spread, Target, ratio, rounds, spread
from benchmarks.plan import QUESTIONS, Begin, Found, Plan, Table, question
from benchmarks.rivals import NO_CPP, Cpp, Sampled, Transformers, gguf_of, ours
from classifiers import models
from service.assembly import load_index
from service.evidence import with_evidence
from service.generator import LocalGenerator, Message, Sampling
from service.settings import Settings

EVIDENCE = 400
"""Tokens that a prompt with evidence has at least, where the sample corpus gives so many."""
SPEED, COST, STEP = Target("≥", 3, "×"), Target("≤", 4, "×"), Target("≤", 2, "×")
THEIRS = "transformers' generate"
MOST_OF_THEIRS = 16
"""Candidates beyond which transformers is not asked: it would take longer than all the rest."""


def part(plan: Plan, begin: Begin) -> Found:
    model, tokenizer = models.load(plan.model)
    generator = LocalGenerator(plan.model, model, tokenizer)
    theirs = Transformers(model, tokenizer)
    asked = {"a short prompt": question(QUESTIONS[0])}
    if plan.variants:
        asked["a prompt with evidence"] = evidence_prompt(generator)
    sampling = Sampling(max_tokens=plan.tokens)
    endings = (False, True) if plan.variants else (False,)

    works: dict[str, Callable[[], Any]] = {"the machine's floor": lambda: floor.measured(generator.precision)}
    for name, messages in asked.items():
        for to_end in endings:
            works[f"ours, {name}, {to_end}"] = partial(ours, generator, messages, plan.candidates, sampling, to_end)
            works[f"theirs, {name}, {to_end}"] = partial(theirs.sample, messages, plan.candidates, sampling, to_end)
    short = asked["a short prompt"]
    for count in plan.counts:
        if count != plan.candidates:
            works[f"ours, {count}"] = partial(ours, generator, short, count, sampling, to_end=False)
            if count <= MOST_OF_THEIRS:
                works[f"theirs, {count}"] = partial(theirs.sample, short, count, sampling, to_end=False)
    weights = gguf_of(plan.model)
    if Cpp.installed() and weights:
        cpp = Cpp(weights, tokenizer, torch.get_num_threads())
        works["cpp"] = partial(cpp.sample, short, plan.candidates, sampling)

    found = rounds(works, plan.repeats, begin("sampling", len(works) * (plan.repeats + 1)))
    for who in ("ours", "theirs"):
        found[f"{who}, {plan.candidates}"] = found[f"{who}, a short prompt, False"]
    rows = [
        compared(found, plan, name, messages, generator, to_end)
        for name, messages in asked.items()
        for to_end in endings
    ]
    rows.insert(1, against_cpp(found, plan, weights is not None))
    rows.append(sixteen_by_one(found, plan))
    rows.append(step_by_floor(found, plan, generator.precision, floor.weights_of(model)))
    return Found(rows, [growth_table(found, plan)], {"growth-candidates": growth_chart(found, plan)})


def evidence_prompt(generator: LocalGenerator) -> list[Message]:
    """A question with as many passages of the sample corpus as make it long enough."""
    hits = load_index(Settings()).search(QUESTIONS[0], 12)
    for shown in range(1, len(hits) + 1):
        messages = with_evidence(question(QUESTIONS[0]), hits[:shown])
        if generator.count_tokens(messages) >= EVIDENCE:
            break
    return messages


def speeds(found: Sequence[Sampled]) -> list[float]:
    return [each.speed for each in found]


def told(found: Sequence[Sampled]) -> str:
    return spread(speeds(found)).shown("tokens/s")


def compared(
    found: dict[str, list[Any]],
    plan: Plan,
    name: str,
    messages: list[Message],
    generator: LocalGenerator,
    to_end: bool,
) -> Row:
    mine, theirs = found[f"ours, {name}, {to_end}"], found[f"theirs, {name}, {to_end}"]
    ending = "of at most" if to_end else "×"
    length = f"{name} ({generator.count_tokens(messages)} tokens)"
    return Row(
        f"{plan.candidates} candidates {ending} {plan.tokens} tokens, {length}{', each to its end mark' if to_end else ''}",
        f"{THEIRS}, bfloat16",
        ratio(speeds(mine), speeds(theirs)),
        "×",
        SPEED,
        told(mine),
        told(theirs),
    )


def against_cpp(found: dict[str, list[Any]], plan: Plan, has_gguf: bool) -> Row:
    what, against = (
        f"{plan.candidates} candidates × {plan.tokens} tokens, a short prompt",
        "llama.cpp, one in turn, same GGUF",
    )
    mine = found["ours, a short prompt, False"]
    if "cpp" not in found:
        why = NO_CPP if has_gguf else "this model is no GGUF file"
        return Row(what, against, None, "×", SPEED, told(mine), why=why)
    return Row(what, against, ratio(speeds(mine), speeds(found["cpp"])), "×", SPEED, told(mine), told(found["cpp"]))


def sixteen_by_one(found: dict[str, list[Any]], plan: Plan) -> Row:
    many = [each.seconds for each in found[f"ours, {plan.candidates}"]]
    one = [each.seconds for each in found["ours, 1"]]
    return Row(
        f"time for {plan.candidates} candidates ÷ time for 1",
        "itself",
        ratio(many, one),
        "×",
        COST,
        spread(many).shown("s"),
        spread(one).shown("s"),
    )


def step_by_floor(found: dict[str, list[Any]], plan: Plan, precision: str, weights: int) -> Row:
    steps = [statistics.median(each.steps) for each in found[f"ours, {plan.candidates}"]]
    measured = found["the machine's floor"]
    # What else runs can only make the machine look slower than it is, and the floor easier to come near.
    best = floor.Machine(max(each.bandwidth for each in measured), max(each.peak for each in measured))
    least = floor.floor(weights, plan.candidates, precision, best)
    return Row(
        f"decode step for {plan.candidates} rows ÷ the machine's floor",
        f"{weights / 1e6:.1f} M weights in {precision}; {best.bandwidth / 1e9:.1f} GB/s, {best.peak / 1e9:.0f} G multiply-adds/s",
        spread([step / least.seconds for step in steps]),
        "×",
        STEP,
        Spread(tuple(step * 1000 for step in steps)).shown("ms"),
        f"{least.seconds * 1000:.1f} ms, by {least.bound} (memory {least.memory * 1000:.1f}, arithmetic {least.arithmetic * 1000:.1f})",
    )


def growth_table(found: dict[str, list[Any]], plan: Plan) -> Table:
    rows = []
    for count in plan.counts:
        theirs = found.get(f"theirs, {count}")
        rows.append([str(count), told(found[f"ours, {count}"]), told(theirs) if theirs else "not run"])
    return Table(
        f"Candidates of {plan.tokens} tokens each",
        ("candidates", "Winnow", THEIRS),
        rows,
        f"n = {plan.repeats} rounds.",
    )


def growth_chart(found: dict[str, list[Any]], plan: Plan) -> Chart:
    def line(name: str, who: str) -> Line:
        counts = [count for count in plan.counts if f"{who}, {count}" in found]
        return Line(name, tuple(point(count, speeds(found[f"{who}, {count}"])) for count in counts))

    return Chart(
        "Tokens a second by candidates", "candidates", "tokens/s", (line("Winnow", "ours"), line(THEIRS, "theirs"))
    )


def point(x: float, values: Sequence[float]) -> tuple[float, float, float, float]:
    return x, statistics.median(values), min(values), max(values)
