"""Our own labelled exchanges: what the format refuses, how examples are split, and what the shipped files hold."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict

from classifiers.labelled import SPLITS, BadExample, Example, read_labelled, split_of, without_leaks
from classifiers.policy import OBJECTIVES
from data import LABELLED

Make = Callable[..., Example]
GOOD: dict[str, Any] = {
    "id": "a",
    "pair": "p",
    "context": [{"role": "system", "content": "Be nice."}, {"role": "user", "content": "Hi"}],
    "role": "assistant",
    "reply": "Hello!",
    "labels": [],
    "source": "own",
}


def write(path: Path, *rows: object) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_line_becomes_an_example(tmp_path: Path) -> None:
    [found] = read_labelled(write(tmp_path / "own.jsonl", GOOD | {"labels": ["hate", "violence"]}))
    assert found == Example(
        id="a",
        context=(("system", "Be nice."), ("user", "Hi")),
        reply="Hello!",
        role="assistant",
        unsafe=True,
        objectives=frozenset({"hate", "violence"}),
        complete=True,
        group="p",
        source="own",
        split=split_of("p"),
    )


def test_no_labels_means_safe(tmp_path: Path) -> None:
    [found] = read_labelled(write(tmp_path / "own.jsonl", GOOD))
    assert not found.unsafe
    assert found.objectives == frozenset()


def test_only_reply_and_labels_are_needed(tmp_path: Path) -> None:
    [found] = read_labelled(write(tmp_path / "own.jsonl", {"reply": "Hello!", "labels": []}))
    assert (found.context, found.role, found.id, found.group) == ((), "assistant", "own.jsonl:1", "own.jsonl:1")


def test_a_line_separator_inside_a_text_does_not_end_the_line(tmp_path: Path) -> None:
    text = "one\u2028two\u2029three\x85four"
    [found] = read_labelled(write(tmp_path / "own.jsonl", GOOD | {"reply": text}))
    assert found.reply == text


def test_empty_lines_are_passed_over_and_still_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "own.jsonl", GOOD, "", "  ", GOOD | {"id": "b", "labels": "hate"})
    with pytest.raises(BadExample, match=r"own\.jsonl:4: "):
        read_labelled(path)


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"reply": None}, "'reply'"),
        ({"reply": " \n"}, "'reply'"),
        ({"reply": ["Hello"]}, "'reply'"),
        ({"role": "system"}, "'role'"),
        ({"role": None}, "'role'"),
        ({"labels": None}, "'labels'"),
        ({"labels": "hate"}, "'labels'"),
        ({"labels": ["rudeness"]}, "unknown objective 'rudeness' in 'labels'; known: violence"),
        ({"labels": [["hate"]]}, "'labels'"),
        ({"labels": [None]}, "'labels'"),
        ({"context": "Hi"}, "'context'"),
        ({"context": None}, "'context'"),
        ({"context": ["Hi"]}, "'context'"),
        ({"context": [{"role": "tool", "content": "Hi"}]}, "'context'"),
        ({"context": [{"role": "user", "content": None}]}, "'context'"),
        ({"context": [{"role": "user"}]}, "'context'"),
        ({"context": [{"content": "Hi"}]}, "'context'"),
    ],
)
def test_a_bad_line_is_an_error_that_names_file_line_and_field(tmp_path: Path, row: dict[str, Any], field: str) -> None:
    path = write(tmp_path / "own.jsonl", GOOD, GOOD | {"id": "b"} | row)
    with pytest.raises(BadExample) as error:
        read_labelled(path)
    assert str(error.value).startswith("own.jsonl:2: ")
    assert field in str(error.value)


@pytest.mark.parametrize("name", ["reply", "labels"])
def test_a_line_that_lacks_a_needed_field_is_an_error(tmp_path: Path, name: str) -> None:
    row = {key: value for key, value in GOOD.items() if key != name}
    with pytest.raises(BadExample, match=rf"own\.jsonl:1: field '{name}'"):
        read_labelled(write(tmp_path / "own.jsonl", row))


@pytest.mark.parametrize("line", ["{", "[]", "3", "null", '{"reply": "a"} {"reply": "b"}'])
def test_a_line_that_is_no_json_object_is_an_error(tmp_path: Path, line: str) -> None:
    with pytest.raises(BadExample, match=r"own\.jsonl:1: .*JSON"):
        read_labelled(write(tmp_path / "own.jsonl", line))


def test_an_id_that_is_used_twice_is_an_error_that_names_both_places(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", GOOD)
    write(tmp_path / "b.jsonl", GOOD | {"id": "x", "reply": "Bye"}, GOOD | {"reply": "Good day"})
    with pytest.raises(BadExample, match=r"b\.jsonl:2: id 'a' was already used at a\.jsonl:1"):
        read_labelled(tmp_path)


def test_the_same_exchange_with_other_labels_is_an_error_that_names_both_places(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", GOOD)
    write(tmp_path / "b.jsonl", GOOD | {"id": "b", "labels": ["hate"]})
    with pytest.raises(BadExample, match=r"b\.jsonl:1: the same exchange has other labels at a\.jsonl:1"):
        read_labelled(tmp_path)


def test_the_same_words_by_another_speaker_or_in_another_context_may_have_other_labels(tmp_path: Path) -> None:
    rows = [GOOD, {"id": "b", "role": "user"}, {"id": "c", "context": []}]
    found = read_labelled(write(tmp_path / "own.jsonl", *(GOOD | {"labels": ["hate"]} | row for row in rows[1:]), GOOD))
    assert [e.unsafe for e in found] == [True, True, False]


def test_other_labels_are_known_where_they_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "own.jsonl", GOOD | {"labels": ["no_dosage", "hate"]})
    [found] = read_labelled(path, (*OBJECTIVES, "no_dosage"))
    assert (found.unsafe, found.objectives) == (True, {"no_dosage", "hate"})
    with pytest.raises(BadExample, match=r"unknown objective 'no_dosage' in 'labels'; known: violence"):
        read_labelled(path)
    with pytest.raises(BadExample, match=r"unknown objective 'hate' in 'labels'; known: no_dosage$"):
        read_labelled(path, ("no_dosage",))


def test_our_own_exchanges_are_labelled_for_every_objective(tmp_path: Path) -> None:
    [found] = read_labelled(write(tmp_path / "own.jsonl", GOOD))
    assert found.complete
    assert found.labelled_for is None


def test_a_folder_is_read_in_the_order_of_its_file_names(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write(tmp_path / f"{name}.jsonl", GOOD | {"id": name, "reply": name})
    (tmp_path / "README.md").write_text("not data")
    assert [e.id for e in read_labelled(tmp_path)] == ["a", "b"]


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no \.jsonl"):
        read_labelled(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_labelled(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("group", "split"),
    [("pair-1", "test"), ("pair-2", "validation"), ("pair-3", "test"), ("pair-4", "train"), ("pair-10", "calibration")],
)
def test_the_split_of_a_group_is_fixed_for_ever(group: str, split: str) -> None:
    assert split_of(group) == split


def test_splits_take_about_their_share() -> None:
    counts = Counter(split_of(f"group {i}") for i in range(4000))
    shares = {"train": 0.62, "calibration": 0.18, "validation": 0.05, "test": 0.15}
    assert set(counts) == set(shares) == set(SPLITS)
    assert {name: count / 4000 for name, count in counts.items()} == pytest.approx(shares, abs=0.02)


@given(st.text(st.characters(codec="utf-8")))
def test_a_share_of_nought_is_never_drawn_and_a_share_of_one_always(group: str) -> None:
    assert split_of(group, (0.85, 0.0, 0.15, 0.0)) in ("train", "validation")
    assert split_of(group, (0.0, 0.4, 0.6, 0.0)) in ("calibration", "validation")
    assert split_of(group, (0.0, 0.0, 0.0, 1.0)) == "test"


def test_every_split_needs_its_share() -> None:
    with pytest.raises(ValueError, match="shorter"):
        split_of("pair-1", (0.0, 0.0, 0.0))


def test_both_exchanges_of_a_pair_fall_into_the_same_split_whatever_else_is_added(tmp_path: Path) -> None:
    pairs = [GOOD | {"id": f"{n}{half}", "pair": f"p{n}", "reply": f"{n}{half}"} for n in range(40) for half in "ab"]
    found = read_labelled(write(tmp_path / "own.jsonl", *pairs))
    assert all(a.split == b.split for a, b in zip(found[::2], found[1::2], strict=True))
    fewer = read_labelled(write(tmp_path / "own.jsonl", *pairs[30:50]))
    assert fewer == found[30:50]


def test_training_examples_that_also_stand_in_another_split_are_left_out(make_example: Make) -> None:
    asked = (("user", "How are you?"),)
    rows = [
        make_example("held out", "fine", context=asked, split="test"),
        make_example("same context", "bad", context=(("user", "how  ARE you?"),)),
        make_example("other context", "fine", context=(("user", "Who are you?"),)),
        make_example("held out alone", "hello there", split="validation"),
        make_example("same text", "Hello   there\n"),
        make_example("same text in a context", "hello there", context=(("user", "Greet me."),)),
    ]
    kept = [e.id for e in without_leaks(rows)]
    assert kept == ["held out", "other context", "held out alone", "same text in a context"]


def test_without_leaks_leaves_the_held_out_splits_whole(make_example: Make) -> None:
    rows = [make_example(str(i), "same", split=split) for i, split in enumerate(SPLITS)]
    assert [e.split for e in without_leaks(iter(rows))] == ["calibration", "validation", "test"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.sampled_from(SPLITS))))
def test_after_without_leaks_no_training_context_stands_in_another_split(rows: list[tuple[str, str, str]]) -> None:
    blank = Example("", (), "", "user", False, frozenset(), True, "", "own", "")
    found = without_leaks(replace(blank, context=(("user", c),), reply=r, split=s) for c, r, s in rows)
    assert not {e.context for e in found if e.split == "train"} & {e.context for e in found if e.split != "train"}


@pytest.fixture(scope="module")
def shipped() -> list[Example]:
    return read_labelled(LABELLED)


def by_pair(examples: list[Example]) -> dict[str, list[Example]]:
    found = defaultdict(list)
    for e in examples:
        found[e.group].append(e)
    return found


def test_the_shipped_files_hold_at_least_8000_exchanges_with_unique_ids_in_at_least_4000_pairs(
    shipped: list[Example],
) -> None:
    assert len(shipped) >= 8000
    assert len({e.id for e in shipped}) == len(shipped)
    assert len(by_pair(shipped)) >= 4000


def test_no_exchange_stands_twice_in_the_shipped_files(shipped: list[Example]) -> None:
    times = Counter((e.context, e.role, " ".join(e.reply.split())) for e in shipped)
    assert [exchange for exchange, count in times.items() if count > 1] == []


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"child_exploitation"}))
def test_every_objective_is_violated_by_at_least_200_of_the_shipped_exchanges(
    shipped: list[Example], name: str
) -> None:
    assert sum(e.unsafe and name in e.objectives for e in shipped) >= 200


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_shipped_files_cover_every_objective_in_every_split(shipped: list[Example], name: str) -> None:
    splits = {e.split for e in shipped if name in e.objectives}
    assert splits == set(SPLITS)


def test_every_pair_of_the_shipped_files_has_a_safe_and_an_unsafe_exchange(shipped: list[Example]) -> None:
    pairs = by_pair(shipped)
    assert [name for name, pair in pairs.items() if {e.unsafe for e in pair} != {True, False}] == []


def test_the_shipped_files_hold_users_and_assistants_safe_and_unsafe_in_every_split(shipped: list[Example]) -> None:
    found = {(e.split, e.role, e.unsafe) for e in shipped}
    assert found == {(s, r, u) for s in SPLITS for r in ("user", "assistant") for u in (True, False)}


def test_no_pair_of_the_shipped_files_is_divided_between_splits(shipped: list[Example]) -> None:
    splits = defaultdict(set)
    for e in shipped:
        splits[e.group].add(e.split)
    assert all(len(s) == 1 for s in splits.values())


def test_the_shipped_files_are_our_own(shipped: list[Example]) -> None:
    assert {e.source for e in shipped} == {"own"}
    assert all(e.complete for e in shipped)


def texts_of(examples: list[Example]) -> list[str]:
    return [" ".join([*(content for _, content in e.context), e.reply]) for e in examples]


def near_duplicates(examples: list[Example], least: float = 0.8, part: int = 500) -> list[tuple[str, str]]:
    """Ids of exchanges of two pairs whose context and reply share most of their five-letter stretches (cosine of TF-IDF)."""
    rows = TfidfVectorizer(analyzer="char", ngram_range=(5, 5), dtype=np.float32).fit_transform(texts_of(examples))
    found = []
    for start in range(0, len(examples), part):
        alike = (rows[start : start + part] @ rows[start:].T).tocoo()
        near = alike.data >= least
        for a, b in zip(alike.row[near] + start, alike.col[near] + start, strict=True):
            if a < b and examples[a].group != examples[b].group:
                found.append((examples[a].id, examples[b].id))
    return found


def test_no_exchange_of_the_shipped_files_nearly_repeats_one_of_another_pair(shipped: list[Example]) -> None:
    first = max(shipped, key=lambda e: len(e.reply))
    copied = replace(first, id="copied", group="another pair", reply=first.reply + " Yes.")
    assert (first.id, "copied") in near_duplicates([*shipped[:50], first, copied])  # it would be found
    assert near_duplicates(shipped) == []


def test_the_words_alone_give_some_but_not_most_of_the_labels_of_the_shipped_exchanges_away(
    shipped: list[Example],
) -> None:
    words = TfidfVectorizer(sublinear_tf=True).fit_transform(texts_of(shipped))
    labels, pairs = np.array([e.unsafe for e in shipped]), [e.group for e in shipped]
    model = LogisticRegression(max_iter=1000)
    found = cross_val_predict(model, words, labels, groups=pairs, cv=GroupKFold(5), method="decision_function")
    assert roc_auc_score(labels, found) < 0.75  # 0.71, as the datasheet says; 0.5 would be nothing
