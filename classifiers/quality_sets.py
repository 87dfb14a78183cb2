"""What the quality ranker learns from: our own rated replies, and conversations of people whose next turn is known. A reader each.

Knows each file's format. What is made of a next turn by rule is in `quality_rules.py`.
"""

import gzip
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classifiers.labelled import BadExample, Turn, json_object, read_labelled, split_of
from classifiers.quality import ASKED
from classifiers.upstream import alternate, digest, json_rows

OWN_SHARES = (0.7, 0.0, 0.1, 0.2)
PUBLIC_SHARES = (0.75, 0.0, 0.1, 0.15)
CONTEXT_TURNS = 3
CONTEXT_WORDS = 70
REPLY_WORDS = 60

Answers = tuple[bool | None, bool | None, bool | None]
"""Sensible, specific, interesting; None where it is not known, and where the answer before was no."""


@dataclass(frozen=True)
class RatedReply:
    """A reply to a context with what is known of it. `kind`: "rated" by a person, "next" turn of a conversation, or how it was made
    (see `quality_rules.py`); `weight`: of what it teaches; `group`: what must not be divided between splits.
    """

    id: str
    context: tuple[Turn, ...]
    reply: str
    answers: Answers
    kind: str
    group: str
    source: str
    split: str
    weight: float = 1.0


@dataclass(frozen=True)
class NextTurn:
    """A context of a conversation and the turn that followed.

    `liked`: whether the partner rated the turn excellent (True) or passable or worse (False); None where it is not told.
    """

    id: str
    context: tuple[Turn, ...]
    reply: str
    group: str
    source: str
    split: str
    liked: bool | None = None


@dataclass(frozen=True)
class QualitySet:
    """A source's folder name, upstream, licence, reader, and how many contexts teach at most."""

    name: str
    upstream: str
    licence: str
    read: Callable[[Path], Iterator[NextTurn]]
    max: int


def read_rated(path: Path) -> list[RatedReply]:
    """Our own rated replies, split by context. Raises `BadExample` for a line that is not one, FileNotFoundError."""
    found: list[RatedReply] = []
    seen: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path.name}:{number}"
        row = json_object(line, where)
        name, context, reply = row.get("id"), row.get("context"), row.get("reply")
        if not isinstance(name, str) or not isinstance(row.get("context_id"), str):
            raise BadExample(f"{where}: fields 'id' and 'context_id' must be texts")
        if name in seen:
            raise BadExample(f"{where}: id {name!r} was already used at {seen[name]}")
        if not isinstance(context, list) or not context or not all(map(_is_turn, context)):
            raise BadExample(f"{where}: field 'context' must be a list of turns, each with a role and a text content")
        if not isinstance(reply, str) or not reply.strip():
            raise BadExample(f"{where}: field 'reply' must be a non-empty text")
        seen[name] = where
        group = f"quality:{row['context_id']}"
        turns = tuple((turn["role"], turn["content"]) for turn in context)
        found.append(
            RatedReply(name, turns, reply, _answers(row, where), "rated", group, "own", split_of(group, OWN_SHARES))
        )
    if not found:
        raise BadExample(f"{path.name} holds no rated reply")
    return found


def _is_turn(turn: object) -> bool:
    return isinstance(turn, dict) and turn.get("role") in ("user", "assistant") and isinstance(turn.get("content"), str)


def _answers(row: dict[str, Any], where: str) -> Answers:
    given = [row.get(name) for name in ASKED]
    for name, answer in zip(ASKED, given, strict=True):
        if answer not in (0, 1):
            raise BadExample(f"{where}: field {name!r} must be 0 or 1")
    for (one, first), (two, second) in (((ASKED[i], given[i]), (ASKED[i + 1], given[i + 1])) for i in range(2)):
        if second and not first:
            raise BadExample(f"{where}: {two} is 1 where {one} is 0")
    sensible, specific, interesting = map(bool, given)
    return sensible, specific if sensible else None, interesting if specific else None


def read_conversations(datasets: Path, labelled: Path) -> list[NextTurn]:
    """The next turns of every source, of each at most so many that teach and all that are held out.

    Raises FileNotFoundError naming the sets that are missing and their upstream.
    """
    missing = [s for s in QUALITY_SETS if not (datasets / s.name).is_dir()]
    if missing:
        wanted = ", ".join(f"{s.name} (from {s.upstream})" for s in missing)
        raise FileNotFoundError(f"{datasets} lacks {wanted}; data/labelled/README.md says where each file goes")
    found: list[NextTurn] = []
    for each in QUALITY_SETS:
        rows = list(each.read(datasets / each.name))
        taught = sorted((row for row in rows if row.split == "train"), key=lambda row: digest(row.id))
        found += taught[: each.max] + [row for row in rows if row.split != "train"]
    return found + own_exchanges(labelled)


OWN_EXCHANGES = 200


def own_exchanges(labelled: Path) -> list[NextTurn]:
    """Safe replies of our labelled exchanges, as the next turn of a user's question: what an assistant is asked and says."""
    rows = [
        NextTurn(f"exchange:{e.id}", e.context, e.reply, f"exchange:{e.group}", "own exchanges", "train")
        for e in read_labelled(labelled)
        if e.split == "train" and e.role == "assistant" and e.context and not e.unsafe and _short(e.context, e.reply)
    ]
    one_a_pair = {row.group: row for row in rows}.values()
    return sorted(one_a_pair, key=lambda row: digest(row.id))[:OWN_EXCHANGES]


def own_turns(rated: Sequence[RatedReply]) -> list[NextTurn]:
    """The specific replies to our rated contexts of the train split, one each, as next turns from which others are made."""
    rows = {
        r.group: NextTurn(f"turn:{r.id}", r.context, r.reply, r.group, "own", "train")
        for r in rated
        if r.split == "train" and r.answers[1]
    }
    return list(rows.values())


def topical_chat(folder: Path) -> Iterator[NextTurn]:
    """One turn of each conversation: one that the partner did not like where there is one, so that as many are as are not."""
    for name in ("freq", "rare"):
        with gzip.open(folder / f"conv_valid_{name}.json.gz", "rt", encoding="utf-8") as file:
            conversations = json.load(file)
        for id, conversation in conversations.items():
            turns = conversation["content"]
            texts = [turn["message"].strip() for turn in turns]
            # The rating of a turn is its partner's, of the quality of what was said.
            liked = [LIKED.get(turn.get("turn_rating")) for turn in turns]
            ends = [i for i in range(1, len(texts)) if liked[i] is not None]
            ends = [i for i in ends if liked[i] is False] or ends
            if ends and all(texts):
                end = ends[int(digest(id)[:8], 16) % len(ends)]
                yield from _next_turn("topicalchat", id, texts, end, liked[end])


LIKED = {"Excellent": True, "Passable": False, "Not Good": False, "Poor": False}


def self_dialogue(folder: Path) -> Iterator[NextTurn]:
    """One turn of one in sixteen dialogs, others than the safety classifier learns from or is judged by."""
    for i, row in enumerate(json_rows(folder / "self_dialogue.jsonl.gz")):
        texts = [text.strip() for text in row.get("turns") or []]
        if i % 16 == 4 and len(texts) > 1 and all(texts):
            end = 1 + int(digest(str(i))[:8], 16) % (len(texts) - 1)
            yield from _next_turn("selfdialogue", str(i), texts, end)


def harmless(folder: Path) -> Iterator[NextTurn]:
    """What the assistant said last in the dialogs that people preferred."""
    for i, row in enumerate(json_rows(folder / "test.jsonl.gz")):
        texts = [part.partition(":")[2].strip() for part in row["chosen"].split("\n\n") if part.startswith(SPEAKERS)]
        if len(texts) > 1 and len(texts) % 2 == 0 and all(texts):
            yield from _next_turn("hh-harmless", str(i), texts, len(texts) - 1)


SPEAKERS = ("Human:", "Assistant:")

QUALITY_SETS = (
    QualitySet("topicalchat", "alexa/Topical-Chat (valid)", "CDLA-Sharing-1.0", topical_chat, 1000),
    QualitySet("selfdialogue", "jfainberg/self_dialogue_corpus", "BSD-3-Clause", self_dialogue, 800),
    QualitySet("hh-harmless", "anthropics/hh-rlhf (harmless-base, test)", "MIT", harmless, 250),
)


def _next_turn(source: str, name: str, texts: Sequence[str], end: int, liked: bool | None = None) -> Iterator[NextTurn]:
    first = max(0, end - CONTEXT_TURNS)
    while first < end - 1 and _words(texts[first:end]) > CONTEXT_WORDS:
        first += 1
    context = alternate(list(texts[first:end]))
    if _short(context, texts[end]):
        key = f"{source}:{name}"
        yield NextTurn(key, context, texts[end], key, source, split_of(key, PUBLIC_SHARES), liked)


def _short(context: Sequence[Turn], reply: str) -> bool:
    return _words([said for _, said in context]) <= CONTEXT_WORDS and _words([reply]) <= REPLY_WORDS


def _words(texts: Sequence[str]) -> int:
    return sum(len(text.split()) for text in texts)


@dataclass(frozen=True)
class HumanRated:
    """A reply with the mean of its raters' answers, by question."""

    context: tuple[Turn, ...]
    reply: str
    means: dict[str, float]


def human_rated(folder: Path) -> list[HumanRated]:
    """The turn-level rows of FED, whichever of its parts is there: for evaluation alone, for no licence is stated.

    Raises FileNotFoundError.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise FileNotFoundError(f"{folder} holds no .json file of FED (from shikib/fed)")
    found: dict[tuple[tuple[Turn, ...], str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in (row for file in files for row in json.loads(file.read_text(encoding="utf-8"))):
        if "response" not in row:
            continue
        context = tuple(
            ("user" if who == "User" else "assistant", said.strip())
            for who, _, said in (line.partition(":") for line in row["context"].splitlines() if line.strip())
        )
        reply = row["response"].removeprefix("System:").strip()
        for question, answers in row["annotations"].items():
            # The original also holds words ("N/A") among the numbers.
            found[context, reply][question] += [a for a in answers if isinstance(a, int | float)]
    return [
        HumanRated(context, reply, {question: sum(a) / len(a) for question, a in answers.items() if a})
        for (context, reply), answers in found.items()
    ]
