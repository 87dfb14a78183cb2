"""A whole reply, screened, ranked and cited, beside the usual chain; and where its time goes."""

import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from benchmarks.figures import Row, Target, ratio, rounds, spread
from benchmarks.plan import QUESTIONS, Begin, Found, Plan, Table, question
from benchmarks.retrieval_speed import made_up
from benchmarks.rivals import Transformers, UsualChain
from classifiers import models
from data import CORPUS
from retrieval import Document, Index, read_documents
from retrieval.corpus import split_passages
from service.assembly import assemble
from service.chat import Corridor, Wants
from service.decisions import Decision
from service.generator import Sampling
from service.settings import Settings

PHASES = ("generate", "screen", "rank", "ground")
SPEED, SHARE = Target("≥", 3, "×"), Target("≤", 0.05, "%")


def part(plan: Plan, begin: Begin) -> Found:
    preparing = begin("a reply: preparing", 3)
    preparing(f"an index of {plan.passages:,} passages")
    documents = corpus(plan.passages)
    texts = [passage.text for document in documents for passage in split_passages(document)]
    with tempfile.TemporaryDirectory() as place:
        Index.build(documents).save(Path(place) / "index")
        preparing("models")
        corridor = assemble(Settings(model=plan.model, index=Path(place) / "index"))
        preparing("the usual chain")
        chain = UsualChain(Transformers(*models.load(plan.model)), texts)
        return compared(corridor, chain, len(texts), plan, begin)


def corpus(passages: int) -> list[Document]:
    """The sample corpus, which has answers to some of the questions, and made-up passages until there are so many."""
    documents, _ = read_documents([CORPUS])
    missing = passages - sum(len(split_passages(document)) for document in documents)
    made = made_up(max(missing, 0))
    return [*documents, *(Document(f"made-up-{i}", "", " ".join(terms)) for i, terms in enumerate(made))]


def compared(corridor: Corridor, chain: UsualChain, passages: int, plan: Plan, begin: Begin) -> Found:
    sampling = Sampling(max_tokens=plan.tokens)

    def whole(numbers: Iterator[int]) -> tuple[float, Decision]:
        number = next(numbers)
        wants = Wants(candidates=plan.candidates, sampling=sampling, seed=number)
        begun = time.perf_counter()
        decision = corridor.reply(question(QUESTIONS[number % len(QUESTIONS)]), wants)
        return time.perf_counter() - begun, decision

    def usual(numbers: Iterator[int]) -> float:
        number = next(numbers)
        asked = question(QUESTIONS[number % len(QUESTIONS)])
        return chain.reply(asked, plan.candidates, Sampling(max_tokens=plan.tokens, seed=number))

    mine, theirs = count(), count()
    works = {"ours": lambda: whole(mine), "the usual chain": lambda: usual(theirs)}
    found = rounds(works, plan.repeats, begin("a reply", len(works) * (plan.repeats + 1)))
    wholes, decisions = zip(*found["ours"], strict=True)
    phases = {phase: [each.seconds.get(phase, 0.0) for each in decisions] for phase in PHASES}
    judging = [screen + rank for screen, rank in zip(phases["screen"], phases["rank"], strict=True)]
    rows = [
        Row(
            f"screening + ranking {plan.candidates} candidates ÷ generating them",
            "itself",
            ratio(judging, phases["generate"]),
            "%",
            SHARE,
            spread(judging).shown("s"),
            spread(phases["generate"]).shown("s"),
        ),
        Row(
            f"whole reply, {plan.candidates} candidates of at most {plan.tokens} tokens, screened, ranked, cited",
            f"generate {plan.candidates} + a classifier pass each ({chain.classifier_weights / 1e6:.0f} M weights, bfloat16) + "
            f"rank-bm25, {passages:,} passages",
            ratio(found["the usual chain"], wholes),
            "×",
            SPEED,
            spread(wholes).shown("s"),
            spread(found["the usual chain"]).shown("s"),
        ),
    ]
    middle = spread(wholes).median
    told = [
        [
            phase,
            f"{spread(times).median:.2f}",
            f"{min(times):.2f}–{max(times):.2f}",
            f"{spread(times).median / middle:.1%}",
        ]
        for phase, times in {**phases, "whole reply": wholes, "the usual chain": found["the usual chain"]}.items()
    ]
    shares = ratio(phases["screen"], phases["generate"]).values
    title = f"Where the time of a reply of {plan.candidates} candidates of at most {plan.tokens} tokens goes"
    headings = ("phase", "median s", "range s", "share of the reply")
    note = (
        f"n = {plan.repeats} replies, each to another of {len(QUESTIONS)} questions; candidates end at their end marks."
    )
    return Found(rows, [Table(title, headings, told, note)], shares=list(shares))
