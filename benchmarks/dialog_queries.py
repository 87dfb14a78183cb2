"""What a query gains from its dialog: follow-up questions with earlier turns, and claims with the question they answer.

    python -m benchmarks.dialog_queries.py

Only the project's own data is read. "changed topic" is the price of looking back: questions that stand alone, each put after the
question and answer of another topic. Claims (true and false ones alike, of data/grounding/pairs, those that have a turn before
them) are looked for among their passages and those of the sample corpus.
"""

import random
from collections.abc import Callable
from dataclasses import replace

from rich.console import Console
from rich.table import Table

from benchmarks.retrieval_quality import interval, resampled
from retrieval.bm25 import K1, B
from retrieval.index import TITLE_WEIGHT
from retrieval.queries import query_of
from retrieval.tokens import tokenise
from service.suites.questions import OWN, Collection, Question, read_lines, read_own
from service.suites.searching import MEASURES, Matrix, measure


def follow_ups(own: Collection) -> Collection:
    """The questions that follow earlier turns."""
    return replace(own, name="follow-ups", questions=tuple(q for q in own.questions if q.earlier))


def changed_topic(own: Collection) -> Collection:
    """The questions without earlier turns, each after the question and answer of one with other documents."""
    answers = {line["id"]: line["answer"] for line in read_lines(OWN / "grounding" / "questions.jsonl")}
    alone = [q for q in own.questions if not q.earlier]
    draw = random.Random(1)
    questions = []
    for asked in alone:
        before = draw.choice([q for q in alone if not q.relevant & asked.relevant])
        questions.append(replace(asked, earlier=(before.text, answers[before.id])))
    return replace(own, name="changed topic", questions=tuple(questions))


def claims(own: Collection) -> Collection:
    """Claims in the place of questions, with the turn before each."""
    texts: dict[str, str] = {}
    questions: list[Question] = []
    for path in sorted((OWN / "grounding" / "pairs").glob("*.jsonl")):
        for pair in read_lines(path):
            texts[pair["passage_id"]] = pair["passage"]
            if pair["before"]:
                questions.append(
                    Question(pair["id"], pair["claim"], frozenset([pair["passage_id"]]), (pair["before"],))
                )
    passages = tuple((id, "", text) for id, text in texts.items())
    return Collection("claims", (*passages, *own.texts), tuple(questions))


DIALOG: dict[str, Callable[[Question], str]] = {
    "question alone": lambda q: q.text,
    "question + all turns": lambda q: " ".join((q.text, *q.earlier)),
    "query_of": lambda q: query_of(q.text, q.earlier),
}
CLAIM: dict[str, Callable[[Question], str]] = {
    "claim alone": lambda q: q.text,
    "question alone": lambda q: q.earlier[0],
    "query_of": lambda q: query_of(q.earlier[0], claim=q.text),
}


def main() -> None:
    own = read_own()
    table = Table(title=f"k1 {K1}, b {B}, title weight {TITLE_WEIGHT}")
    for heading in ("questions", "n", "query", "nDCG@10", "95%", *(name for name in MEASURES if name != "nDCG@10")):
        table.add_column(heading, justify="left" if heading in ("questions", "query") else "right")
    for collection, forms in ((follow_ups(own), DIALOG), (changed_topic(own), DIALOG), (claims(own), CLAIM)):
        matrix = Matrix(collection, tokenise)
        for form, query in forms.items():
            scored = matrix.scores([query(q) for q in collection.questions], K1, B, TITLE_WEIGHT)
            rankings = {q.id: matrix.ranking(s) for q, s in zip(collection.questions, scored, strict=True)}
            values = measure(collection, rankings)
            table.add_row(
                *(collection.name, str(len(collection.questions)), form),
                *(f"{values['nDCG@10'].mean():.3f}", interval(resampled(values["nDCG@10"]))),
                *(f"{values[name].mean():.3f}" for name in MEASURES if name != "nDCG@10"),
            )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
