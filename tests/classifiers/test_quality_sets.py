"""Rated replies and next turns, from each file's own format; what is wrong with a line is said."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from classifiers.labelled import BadExample
from classifiers.quality_sets import (
    CONTEXT_WORDS,
    QUALITY_SETS,
    NextTurn,
    harmless,
    human_rated,
    own_exchanges,
    own_turns,
    read_conversations,
    read_rated,
    self_dialogue,
    topical_chat,
)
from data import QUALITY

LINE: dict[str, Any] = {
    "id": "a-1a",
    "context_id": "a-1",
    "context": [{"role": "user", "content": "Tea?"}],
    "reply": "Yes, green.",
    "sensible": 1,
    "specific": 1,
    "interesting": 0,
}


def written(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    return path


def test_a_line_gives_the_answers_that_were_asked(tmp_path: Path) -> None:
    nonsense = {**LINE, "id": "b", "sensible": 0, "specific": 0}
    generic = {**LINE, "id": "c", "specific": 0}
    witty = {**LINE, "id": "d", "interesting": 1}
    found = read_rated(written(tmp_path / "r.jsonl", LINE, nonsense, generic, witty))
    assert [r.answers for r in found] == [
        (True, True, False),
        (False, None, None),
        (True, False, None),
        (True, True, True),
    ]
    assert found[0].context == (("user", "Tea?"),)
    assert {r.kind for r in found} == {"rated"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sensible": 2}, "'sensible' must be 0 or 1"),
        ({"interesting": None}, "'interesting' must be 0 or 1"),
        ({"sensible": 0}, "specific is 1 where sensible is 0"),
        ({"specific": 0, "interesting": 1}, "interesting is 1 where specific is 0"),
        ({"context": []}, "'context'"),
        ({"context": [{"role": "user"}]}, "'context'"),
        ({"reply": " "}, "'reply'"),
        ({"id": 3}, "'id'"),
        ({"context_id": None}, "'context_id'"),
    ],
)
def test_a_line_that_is_wrong_is_named_with_its_field(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    with pytest.raises(BadExample, match=r"r\.jsonl:2: .*" + says):
        read_rated(written(tmp_path / "r.jsonl", LINE, {**LINE, "id": "b", **change}))


def test_an_id_that_comes_twice_and_a_file_of_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadExample, match=r"already used at r\.jsonl:1"):
        read_rated(written(tmp_path / "r.jsonl", LINE, LINE))
    with pytest.raises(BadExample, match="no rated reply"):
        read_rated(written(tmp_path / "none.jsonl"))


def test_our_own_replies_are_read_and_no_context_stands_in_two_splits() -> None:
    found = read_rated(QUALITY / "replies.jsonl")
    assert len(found) >= 600
    splits: dict[Any, set[str]] = {}
    for row in found:
        splits.setdefault(row.context, set()).add(row.split)
    assert all(len(each) == 1 for each in splits.values())
    assert {"train", "validation", "test"} == {row.split for row in found}


def test_our_own_train_contexts_give_one_specific_turn_each() -> None:
    found = read_rated(QUALITY / "replies.jsonl")
    turns = own_turns(found)
    specific = {(r.group, r.reply) for r in found if r.split == "train" and r.answers[1]}
    assert {(t.group, t.reply) for t in turns} <= specific
    assert len({t.group for t in turns}) == len(turns) == len({group for group, _ in specific})


def gzipped(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt") as file:
        file.write(text)


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """Each set in its upstream's own format, a conversation or two long."""
    folder = tmp_path / "sets"
    said = [
        {"message": f"turn {i}", "turn_rating": rating}
        for i, rating in enumerate(["Poor", "Good", "Excellent", "Passable", "Excellent", ""])
    ]
    liked = [{"message": f"said {i}", "turn_rating": r} for i, r in enumerate(["Excellent", "Good", "Excellent"])]
    gzipped(folder / "topicalchat/conv_valid_freq.json.gz", json.dumps({"t1": {"content": said}}))
    gzipped(folder / "topicalchat/conv_valid_rare.json.gz", json.dumps({"t2": {"content": liked}}))
    rows = [{"turns": [f"line {i} {n}" for n in range(4)]} for i in range(21)]
    gzipped(folder / "selfdialogue/self_dialogue.jsonl.gz", "\n".join(map(json.dumps, rows)))
    dialog = "\n\nHuman: Hi: you\n\nAssistant: Hello.\n\nHuman: Tea?\n\nAssistant: Gladly."
    gzipped(folder / "hh-harmless/test.jsonl.gz", json.dumps({"chosen": dialog, "rejected": "x"}))
    return folder


def test_a_turn_that_the_partner_did_not_like_is_taken_where_there_is_one(sets: Path) -> None:
    first, second = topical_chat(sets / "topicalchat")
    assert (first.reply, first.liked) == ("turn 3", False)
    assert first.context == (("user", "turn 0"), ("assistant", "turn 1"), ("user", "turn 2"))
    assert (second.reply, second.liked) == ("said 2", True)


def test_of_the_self_dialogues_one_in_sixteen_is_taken(sets: Path) -> None:
    found = list(self_dialogue(sets / "selfdialogue"))
    assert [turn.id for turn in found] == ["selfdialogue:4", "selfdialogue:20"]
    for turn in found:
        assert turn.context[-1][0] == "user"
        number = int(turn.reply.split()[-1])
        assert turn.context[-1][1].endswith(str(number - 1))


def test_of_a_dialog_that_people_preferred_the_last_turn_is_the_assistants(sets: Path) -> None:
    (turn,) = harmless(sets / "hh-harmless")
    assert turn.context == (("user", "Hi: you"), ("assistant", "Hello."), ("user", "Tea?"))
    assert turn.reply == "Gladly."


def test_a_long_context_loses_its_first_turns_and_a_long_turn_is_left_out(sets: Path) -> None:
    words = "word " * CONTEXT_WORDS

    def dialog(*turns: str) -> list[NextTurn]:
        speakers = ("Human", "Assistant")
        text = "".join(f"\n\n{speakers[i % 2]}: {turn}" for i, turn in enumerate(turns))
        gzipped(sets / "hh-harmless/test.jsonl.gz", json.dumps({"chosen": text}))
        return list(harmless(sets / "hh-harmless"))

    assert dialog(words, "Yes.", "And?", "So.")[0].context == (("assistant", "Yes."), ("user", "And?"))
    assert dialog("Hm?", words) == []
    assert dialog(words + "word", "Yes.") == []


def test_every_source_is_read_and_missing_ones_are_named(sets: Path, tmp_path: Path) -> None:
    labelled = tmp_path / "own.jsonl"
    labelled.write_text("")
    assert {turn.source for turn in read_conversations(sets, labelled)} == {each.name for each in QUALITY_SETS}
    (sets / "selfdialogue").rename(sets / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"selfdialogue \(from jfainberg/self_dialogue_corpus\)"):
        read_conversations(sets, labelled)


def test_of_our_labelled_exchanges_safe_replies_of_the_train_split_are_taken(tmp_path: Path) -> None:
    rows = [
        {"id": f"{i}{kind}", "pair": f"p{i}", "context": context, "reply": "Of course.", "labels": labels, "role": role}
        for i in range(20)
        for kind, context, labels, role in (
            ("a", [{"role": "user", "content": f"Tea {i}?"}], [], "assistant"),
            ("b", [{"role": "user", "content": f"Tea {i}?"}], ["hate"], "assistant"),
            ("c", [], [], "user"),
        )
    ]
    for row in rows:
        row["reply"] += f" {row['id']}"
    found = own_exchanges(written(tmp_path / "own.jsonl", *rows))
    assert 5 < len(found) < 20
    assert all(turn.reply.endswith("a") and turn.split == "train" for turn in found)


def fed(context: str, response: str | None, overall: list[Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"context": context, "annotations": {"Overall": overall, "Empty": []}}
    return row if response is None else {**row, "response": response}


def test_people_ratings_are_the_means_of_turns_and_those_of_one_reply_are_joined(tmp_path: Path) -> None:
    rows = [
        fed("User: Hi!\nSystem: Hey: you\nUser: So?", "System: Well.", [4, 3, "N/A"]),
        fed("User: Hi!\nSystem: Hey: you\nUser: So?", "System: Well.", [2]),
        fed("User: Hi!", None, [4]),
    ]
    (tmp_path / "any_name.json").write_text(json.dumps(rows))
    (found,) = human_rated(tmp_path)
    assert found.context == (("user", "Hi!"), ("assistant", "Hey: you"), ("user", "So?"))
    assert (found.reply, found.means) == ("Well.", {"Overall": 3.0})
    (tmp_path / "any_name.json").unlink()
    with pytest.raises(FileNotFoundError, match="shikib/fed"):
        human_rated(tmp_path)
