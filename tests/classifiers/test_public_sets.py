"""Each public set's own format, in files made up here, and the examples that come of them."""

import csv
import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from classifiers import plain_sets, public_sets
from classifiers.labelled import Example
from classifiers.policy import OBJECTIVES
from classifiers.public_sets import PUBLIC_SETS, PublicSet, read_public


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def write_jsonl(path: Path, *rows: object) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def write_csv(path: Path, *rows: dict[str, object]) -> None:
    aside = path.with_suffix(".tmp")
    with aside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
    path.write_bytes(gzip.compress(aside.read_bytes()) if path.suffix == ".gz" else aside.read_bytes())
    aside.unlink()


def said(examples: Iterator[Example]) -> list[tuple[str, bool, frozenset[str]]]:
    return [(e.reply, e.unsafe, e.objectives) for e in examples]


HATE, NONE = frozenset({"hate"}), frozenset[str]()


def diasafety(folder: Path) -> None:
    row = {"context": " Hi  There ", "response": "Go away ", "category": "Offending User", "label": "Unsafe"}
    write_json(folder / "train.json", [row, row | {"response": "Hello", "label": "Safe"}])
    write_json(folder / "val.json", [row | {"context": "hmm", "category": "Toxicity Agreement"}])


def toxichat(folder: Path) -> None:
    row = {
        "reddit_thread": [{"text": " first "}, {"text": "second"}],
        "final_dgpt_response": {"text": "rude", "offense_label": "Offensive"},
        "final_gpt3_response": {"text": "kind", "offense_label": "Safe"},
    }
    write_jsonl(folder / "train.jsonl", row)
    write_jsonl(folder / "dev.jsonl", row)


def convabuse(folder: Path) -> None:
    row = {"conv_id": "7.0", "prev_agent": "", "prev_user": " hi ", "agent": "Hello", "user": "Go away"}
    votes = {f"Annotator{n}_is_abuse.{grade}": "" for n in (1, 2) for grade in (1, 0, -1, -2, -3)}
    write_csv(
        folder / "ConvAbuseEMNLPtrain.csv",
        row | votes | {"Annotator1_is_abuse.-2": "1", "Annotator2_is_abuse.1": "1"},
        row | votes | {"user": "rated twice", "Annotator1_is_abuse.-1": "1, 1", "Annotator2_is_abuse.0": "0"},
        row | votes | {"user": "thanks", "Annotator1_is_abuse.1": "1", "Annotator2_is_abuse.-1": "1"},
        row | votes | {"user": "unrated"},
    )
    write_csv(folder / "ConvAbuseEMNLPvalid.csv", row | votes | {"Annotator1_is_abuse.0": "1"})


def safetext(folder: Path) -> None:
    write_json(folder / "SafeText.json", {"If you are ill,": {"safe": ["rest."], "unsafe": ["run.", "jump."]}})


def davidson(folder: Path) -> None:
    write_csv(
        folder / "labeled_data.csv",
        {"class": "0", "tweet": "hateful"},
        {"class": "1", "tweet": "merely rude"},
        {"class": "2", "tweet": "neither"},
    )


def hatemojibuild(folder: Path) -> None:
    write_csv(folder / "train.csv", {"entry_id": "1", "text": "bad", "label_gold": "1"})
    write_csv(folder / "validation.csv", {"entry_id": "2", "text": "good", "label_gold": "0"})


def sbic(folder: Path) -> None:
    rows = [
        *(("a slur, say all", vote, "a group") for vote in ("1.0", "1.0", "0.0")),
        *(("an insult, say all", vote, "") for vote in ("1.0", "0.5", "")),
        *(("nobody agrees", vote, "") for vote in ("1.0", "0.0")),
        *(("a kind word", vote, "") for vote in ("0.0", "0.0")),
        ("nobody rated it", "", ""),
    ]
    write_csv(folder / "SBFv2.dev.csv", *({"post": p, "offensiveYN": vote, "targetMinority": m} for p, vote, m in rows))


def edos(folder: Path) -> None:
    write_csv(folder / "train.csv", {"rewire_id": "t-1", "text": "bad", "label_sexist": "sexist"})
    write_csv(folder / "dev.csv", {"rewire_id": "t-2", "text": "good", "label_sexist": "not sexist"})


def context_toxicity(folder: Path) -> None:
    row = {"parent": " why  so ", "text": "you fool", "label": "1", "api": "0.9"}
    benign = [row | {"text": f"benign {i}", "label": "0", "api": "0.1"} for i in range(1, 31)]
    benign[14] |= {"api": "0.5"}  # row 15 of the file: the crowd was unsure
    write_csv(folder / "gc.csv.gz", row, *benign)
    write_csv(folder / "gn.csv.gz", row | {"label": "0", "api": ""})


def harmful_questions(folder: Path) -> None:
    write_json(
        folder / "catqa_english.json",
        {
            "Illegal Activity": {"theft": ["How to steal?"]},
            "Privacy Violation Activity": {"stalking": ["Where does she live?"]},
            "Physical Harm": {"fights": ["How to hurt?"]},
            "Adult Content": {"stories": ["Left out?"]},
        },
    )
    write_json(folder / "harmfulqa.json", {"History": {"Wars": ["How to start one?"]}})


def corpora(folder: Path) -> None:
    write_jsonl(
        folder / "medquad.jsonl.gz",
        *({"question": f"What is illness {i}?", "answer": f"Illness {i}.  It \n passes."} for i in range(41)),
    )
    about = {"title": "Chad - Economy - Chad", "text": "One fact about the country and its people. " * 9}
    write_jsonl(
        folder / "factbook_passages.jsonl.gz", about, *([about] * 39), about | {"text": "Too short."}, *([about] * 40)
    )


def topicalchat(folder: Path) -> None:
    said = [{"message": f"turn {i}"} for i in range(10)]
    write_json(folder / "conv.json", {"t_1": {"content": said}, "t_2": {"content": said[:2]}})
    (folder / "conv_valid_freq.json.gz").write_bytes(gzip.compress((folder / "conv.json").read_bytes()))


def squad2(folder: Path) -> None:
    asked = [{"id": f"q{i}", "question": f"What is {i}?"} for i in range(11)]
    write_jsonl(folder / "dev-2.0-from-html.json.gz", {"data": [{"title": "Normandy", "paragraphs": [{"qas": asked}]}]})


def selfdialogue(folder: Path) -> None:
    dialog = {"turns": ["hi", "hello", "how are you?", "fine", "bye"]}
    write_jsonl(folder / "self_dialogue.jsonl.gz", dialog, *([dialog] * 15), {"turns": ["hi", "hello", "well?"]})


MADE_UP: dict[str, Callable[[Path], None]] = {
    "diasafety": diasafety,
    "toxichat": toxichat,
    "convabuse": convabuse,
    "safetext": safetext,
    "davidson": davidson,
    "hatemojibuild": hatemojibuild,
    "sbic": sbic,
    "edos": edos,
    "context-toxicity": context_toxicity,
    "harmful-questions": harmful_questions,
    "corpora": corpora,
    "topicalchat": topicalchat,
    "squad2": squad2,
    "selfdialogue": selfdialogue,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, write in MADE_UP.items():
        (tmp_path / name).mkdir()
        write(tmp_path / name)
    return tmp_path


def test_diasafety_is_a_question_and_an_answer_with_a_category(folder: Path) -> None:
    unsafe, safe, held_out = public_sets.diasafety(folder / "diasafety")
    assert unsafe.context == (("user", "Hi  There"),)
    assert (unsafe.reply, unsafe.role, unsafe.unsafe) == ("Go away", "assistant", True)
    assert unsafe.objectives == {"harassment"}
    assert (safe.unsafe, safe.objectives, safe.group) == (False, NONE, unsafe.group)
    assert (unsafe.split, held_out.split) == ("train", "validation")
    assert (held_out.unsafe, held_out.objectives) == (True, NONE)


def test_toxichat_is_a_thread_whose_last_turn_is_the_users_with_two_replies(folder: Path) -> None:
    rude, kind, *held_out = public_sets.toxichat(folder / "toxichat")
    assert rude.context == kind.context == (("assistant", "first"), ("user", "second"))
    assert [(e.reply, e.unsafe) for e in (rude, kind)] == [("rude", True), ("kind", False)]
    assert rude.group == kind.group
    assert [e.split for e in held_out] == ["validation"] * 2


def test_convabuse_takes_the_mean_of_the_raters_and_reads_a_cell_that_was_rated_twice(folder: Path) -> None:
    found = list(public_sets.convabuse(folder / "convabuse"))
    assert [(e.reply, e.unsafe, e.split) for e in found] == [
        ("Go away", True, "train"),  # -2 and 1
        ("rated twice", True, "train"),  # "1, 1" below -1
        ("thanks", False, "train"),  # 1 and -1
        ("Go away", False, "validation"),
    ]
    assert found[0].context == (("user", "hi"), ("assistant", "Hello"))
    assert found[0].role == "user"
    assert found[0].group == found[1].group != found[3].group
    assert [e.objectives for e in found[:2]] == [{"harassment"}] * 2


def test_safetext_is_a_situation_with_its_continuations_kept_together(folder: Path) -> None:
    found = list(public_sets.safetext(folder / "safetext"))
    assert said(found) == [
        ("rest.", False, NONE),
        ("run.", True, frozenset({"specialised_advice"})),
        ("jump.", True, frozenset({"specialised_advice"})),
    ]
    assert len({(e.context, e.group, e.split) for e in found}) == 1


def test_davidsons_mere_profanity_is_left_out(folder: Path) -> None:
    assert said(public_sets.davidson(folder / "davidson")) == [("hateful", True, HATE), ("neither", False, NONE)]


def test_hatemojibuild_has_its_own_validation_file(folder: Path) -> None:
    found = list(public_sets.hatemojibuild(folder / "hatemojibuild"))
    assert said(found) == [("bad", True, HATE), ("good", False, NONE)]
    assert [e.split for e in found] == ["train", "validation"]


def test_sbic_posts_are_judged_by_the_majority_and_left_out_where_there_is_none(folder: Path) -> None:
    assert said(public_sets.sbic(folder / "sbic")) == [
        ("a slur, say all", True, HATE),
        ("an insult, say all", True, NONE),
        ("a kind word", False, NONE),
    ]


def test_edos_names_what_is_sexist(folder: Path) -> None:
    found = list(public_sets.edos(folder / "edos"))
    assert said(found) == [("bad", True, HATE), ("good", False, NONE)]
    assert [e.split for e in found] == ["train", "validation"]
    assert [e.labelled_for for e in found] == ["hate", "hate"]  # what is not sexist may well be something else


def test_context_toxicity_keeps_the_toxic_and_a_few_plainly_benign_comments(folder: Path) -> None:
    found = list(public_sets.context_toxicity(folder / "context-toxicity"))
    assert said(found) == [("you fool", True, NONE), ("benign 30", False, NONE)]
    assert found[0].context == (("user", "why  so"),)
    assert found[0].group == found[1].group


def test_harmful_questions_are_the_users_and_those_our_policy_allows_are_left_out(folder: Path) -> None:
    found = list(public_sets.harmful_questions(folder / "harmful-questions"))
    assert said(found) == [
        ("How to steal?", True, frozenset({"crime"})),
        ("Where does she live?", True, frozenset({"privacy"})),
        ("How to hurt?", True, NONE),
        ("How to start one?", True, NONE),
    ]
    assert {e.role for e in found} == {"user"}


def test_medquad_gives_every_twentieth_question_as_harmless(folder: Path) -> None:
    expected = [(f"What is illness {i}?", False, NONE) for i in (0, 20, 40)]
    found = [e for e in plain_sets.medquad(folder / "corpora") if e.source == "questions"]
    assert said(iter(found)) == expected


def test_medquad_gives_the_beginnings_of_other_answers_as_harmless_replies(folder: Path) -> None:
    found = [e for e in plain_sets.medquad(folder / "corpora") if e.source == "answers"]
    assert [e.context for e in found] == [(("user", f"What is illness {i}?"),) for i in (10, 30)]
    for e, i in zip(found, (10, 30), strict=True):
        assert e.reply in (f"Illness {i}.", f"Illness {i}. It passes.")
        assert (e.role, e.unsafe) == ("assistant", False)


def test_the_factbook_answers_a_question_about_the_country_in_at_most_eight_sentences(folder: Path) -> None:
    first, last = plain_sets.factbook(folder / "corpora")
    assert first.context == last.context == (("user", "What can you tell me about Chad Economy?"),)
    assert first.reply == " ".join(["One fact about the country and its people."] * first.reply.count("."))
    assert 1 <= first.reply.count(".") <= plain_sets.ANSWER_SENTENCES
    assert not first.unsafe


def test_topicalchat_gives_every_sixth_turn_after_up_to_three_before_it_grouped_by_conversation(folder: Path) -> None:
    first, second = plain_sets.topicalchat(folder / "topicalchat")
    assert (first.reply, first.context) == ("turn 2", (("assistant", "turn 0"), ("user", "turn 1")))
    assert (second.reply, len(second.context)) == ("turn 8", 3)
    assert {(e.group, e.role, e.unsafe) for e in (first, second)} == {("topicalchat:t_1", "assistant", False)}


def test_squad_gives_every_tenth_question_of_a_paragraph_grouped_by_article(folder: Path) -> None:
    found = list(plain_sets.squad_questions(folder / "squad2"))
    assert said(found) == [("What is 0?", False, NONE), ("What is 10?", False, NONE)]
    assert {e.group for e in found} == {"questions:Normandy"}


def test_selfdialogue_gives_the_opening_of_every_sixteenth_dialog(folder: Path) -> None:
    first, second = plain_sets.selfdialogue(folder / "selfdialogue")
    assert (first.reply, first.context) == (
        "fine",
        (("user", "hi"), ("assistant", "hello"), ("user", "how are you?")),
    )
    assert (second.reply, second.context) == ("hello", (("user", "hi"),))
    assert not first.unsafe


def test_plain_dialog_is_held_out_and_holds_other_dialogs_than_are_trained_on(folder: Path) -> None:
    dialogs = [{"turns": [f"hi {i}", f"hello {i}"]} for i in range(64)]
    write_jsonl(folder / "selfdialogue" / "self_dialogue.jsonl.gz", *dialogs)
    found = plain_sets.plain_dialog(folder)
    assert [e.reply for e in found] == [f"hello {i}" for i in (8, 24, 40, 56)]
    assert {(e.source, e.split, e.unsafe, e.role) for e in found} == {
        ("plain dialog", "validation", False, "assistant")
    }
    read = [e for e in read_public(folder) if e.source == "selfdialogue"]
    assert len(read) == 4
    for of in (lambda e: e.id, lambda e: e.group, lambda e: (e.context, e.reply)):
        assert not {of(e) for e in found} & {of(e) for e in read}


def test_plain_dialog_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        plain_sets.plain_dialog(tmp_path)


def test_all_sets_together_have_unique_ids_known_objectives_and_no_test_rows(folder: Path) -> None:
    found = read_public(folder)
    assert len({e.id for e in found}) == len(found)
    assert {e.source for e in found} >= {"diasafety", "toxichat", "convabuse", "questions", "selfdialogue"}
    for e in found:
        assert e.reply.strip()
        assert e.role in ("user", "assistant")
        assert e.objectives <= set(OBJECTIVES)
        assert e.unsafe or not e.objectives
        assert not e.complete  # what is not named is merely not labelled
        assert e.split in ("train", "calibration", "validation")
        assert e.labelled_for == ("hate" if e.source == "edos" else None)
        assert not e.context or e.context[-1][0] != e.role


@pytest.mark.parametrize("public_set", PUBLIC_SETS, ids=lambda s: s.name)
def test_a_missing_folder_is_an_error_that_names_the_set_and_its_upstream(folder: Path, public_set: PublicSet) -> None:
    (folder / public_set.name).rename(folder / "elsewhere")
    with pytest.raises(FileNotFoundError) as error:
        read_public(folder)
    assert f"{public_set.name} (from {public_set.upstream})" in str(error.value)
    assert str(error.value).count("(from ") == sum(s.name == public_set.name for s in PUBLIC_SETS)


def test_every_set_names_its_upstream_and_licence() -> None:
    assert len({s.upstream for s in PUBLIC_SETS}) == len(PUBLIC_SETS)
    assert {s.name for s in PUBLIC_SETS} == set(MADE_UP)
    assert all(s.upstream and s.licence and s.max > 0 for s in PUBLIC_SETS)


def sampled(monkeypatch: pytest.MonkeyPatch, folder: Path, rows: list[Example], most: int) -> list[str]:
    return [e.id for e in read_made_up(monkeypatch, folder, rows, most)]


def read_made_up(monkeypatch: pytest.MonkeyPatch, folder: Path, rows: list[Example], most: int = 10) -> list[Example]:
    (folder / "made-up").mkdir(exist_ok=True)
    made_up = PublicSet("made-up", "nobody/nothing", "CC0-1.0", lambda _: iter(rows), most)
    monkeypatch.setattr(public_sets, "PUBLIC_SETS", (made_up,))
    return read_public(folder)


def test_a_big_set_is_held_to_its_maximum_by_a_sample_that_is_always_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_example: Callable[..., Any]
) -> None:
    rows = [make_example(f"made-up:{i}") for i in range(100)]
    few, more, all_of_them = (sampled(monkeypatch, tmp_path, rows, most) for most in (10, 20, 1000))
    assert (len(few), len(more), len(all_of_them)) == (10, 20, 100)
    assert few == more[:10] == all_of_them[:10]
    assert sampled(monkeypatch, tmp_path, rows[::-1], 10) == few
    assert few != [e.id for e in rows[:10]]


def test_one_more_row_changes_at_most_one_row_of_the_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_example: Callable[..., Any]
) -> None:
    rows = [make_example(f"made-up:{i}") for i in range(100)]
    before = set(sampled(monkeypatch, tmp_path, rows, 10))
    for i in range(100, 120):
        after = set(sampled(monkeypatch, tmp_path, [*rows, make_example(f"made-up:{i}")], 10))
        assert len(before - after) <= 1


def test_rows_held_out_are_never_sampled_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_example: Callable[..., Any]
) -> None:
    rows = [make_example(f"made-up:{i}", split="validation" if i < 30 else "train") for i in range(100)]
    found = sampled(monkeypatch, tmp_path, rows, 10)
    assert len(found) == 40
    assert {e.id for e in rows[:30]} < set(found)


def test_two_in_five_groups_of_what_is_held_out_calibrate_and_the_others_validate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_example: Callable[..., Any]
) -> None:
    rows = [
        make_example(f"{group}-{i}", split="validation", group=f"g{group}") for group in range(2000) for i in range(2)
    ]
    found = read_made_up(monkeypatch, tmp_path, rows)
    assert [replace(e, split="validation") for e in found] == rows
    splits: dict[str, set[str]] = {}
    for e in found:
        splits.setdefault(e.group, set()).add(e.split)
    assert all(len(of_group) == 1 for of_group in splits.values())
    assert sum(s == {"calibration"} for s in splits.values()) / len(splits) == pytest.approx(0.4, abs=0.04)
    assert set().union(*splits.values()) == {"calibration", "validation"}


def test_a_held_out_group_calibrates_or_validates_whatever_else_is_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_example: Callable[..., Any]
) -> None:
    rows = [make_example(f"{i}", split="validation") for i in range(50)]
    found = read_made_up(monkeypatch, tmp_path, rows)
    assert read_made_up(monkeypatch, tmp_path, rows[:9:-1]) == found[:9:-1]


def test_what_is_trained_on_neither_calibrates_nor_validates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_example: Callable[..., Any]
) -> None:
    rows = [make_example(f"{i}") for i in range(10)]
    assert {e.split for e in read_made_up(monkeypatch, tmp_path, rows)} == {"train"}
