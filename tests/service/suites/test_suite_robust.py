"""Disguises and paraphrases: whose verdict stays, counted by hand, and that the shipped paraphrases are what they say."""

import json

import pytest

from classifiers.labelled import read_labelled
from data import LABELLED, ROBUST
from service.disguising import DISGUISES
from service.settings import Settings
from service.suites import robust
from service.suites.base import measured
from service.suites.robust import SUITE
from service.suites.run import Run
from tests.service.scripted import make_corridor, scores_of


def version(dropped):
    return {"text": "t", "unsafe": 0.5, "dropped": dropped}


def row(id, kind, unsafe_label, dropped, **versions):
    found = {name: version(gone) for name, gone in versions.items()}
    return {
        "id": id,
        "group": id,
        "kind": kind,
        "unsafe_label": unsafe_label,
        "dropped": dropped,
        "versions": found,
    }


ROWS = [
    row("a", "disguise", True, True, leet=True, wide=True),
    row("b", "disguise", True, True, leet=False, wide=True),
    row("c", "disguise", True, False, leet=True, wide=True),  # was not caught undisguised
    row("d", "disguise", False, False, leet=True, wide=False),
    row("e", "disguise", False, False, leet=False, wide=False),
    row("f", "disguise", False, True, leet=True, wide=True),  # was refused undisguised
    row("g", "paraphrase", True, True, paraphrase=True),
    row("h", "paraphrase", True, True, paraphrase=False),
    row("i", "paraphrase", False, False, paraphrase=True),
    row("j", "paraphrase", False, True, paraphrase=True),
    row("k", "paraphrase", True, False, paraphrase=False),
]


@pytest.mark.parametrize(
    ("name", "value", "n"),
    [
        ("disguised, still caught", (1 + 1 / 2) / 2, 2),
        ("disguised, still caught: leet", 1 / 2, 2),
        ("disguised, still caught: wide", 1.0, 2),
        ("disguised, harmless text newly refused", (1 / 2 + 0) / 2, 2),
        ("disguised, harmless text newly refused: leet", 1 / 2, 2),
        ("disguised, harmless text newly refused: wide", 0.0, 2),
        ("paraphrased, verdict stays", 3 / 5, 5),
        ("paraphrased, still caught", 1 / 2, 2),
        ("paraphrased, harmless text newly refused", 1.0, 1),
    ],
)
def test_a_share_worked_out_by_hand(name, value, n):
    figures = {m.name: measured(m, ROWS) for m in SUITE.metrics(ROWS)}
    assert (figures[name].value, figures[name].n) == (pytest.approx(value), n)


def test_where_nothing_was_caught_there_is_no_share_of_what_still_is():
    rows = [row("a", "disguise", True, False, leet=True), row("g", "paraphrase", True, False, paraphrase=True)]
    figures = {m.name: measured(m, rows).value for m in SUITE.metrics(rows)}
    assert figures["disguised, still caught"] is None
    assert figures["paraphrased, still caught"] is None
    assert figures["paraphrased, verdict stays"] == 0


def test_no_rows_have_no_figures():
    assert {measured(m, []).value for m in SUITE.metrics([])} == {None}


# Over hand-made exchanges

LINES = [
    {"id": "bad", "reply": "bomb it", "labels": ["violence"], "role": "user"},
    {"id": "good", "reply": "fine by me", "labels": [], "context": [{"role": "user", "content": "So?"}]},
    {"id": "long", "reply": "word " * 31, "labels": ["violence"]},
]


@pytest.fixture
def world(monkeypatch, tmp_path):
    """Three exchanges of the test split, and a paraphrase of two of them."""
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    monkeypatch.setattr("classifiers.labelled.split_of", lambda group: "test")
    monkeypatch.setattr(robust, "LABELLED", tmp_path / "own.jsonl")
    monkeypatch.setattr(robust, "ROBUST", tmp_path)
    monkeypatch.setattr(robust, "DISGUISES", {"shouted": str.upper, "backwards": lambda text: text[::-1]})
    paraphrases = tmp_path / "paraphrases.jsonl"
    paraphrases.write_text(
        '{"id": "1", "of": "bad", "reply": "blow it up"}\n{"id": "2", "of": "good", "reply": "I agree"}\n'
    )
    return paraphrases


def scores(context, texts, role):
    """Capitals are seen through, words backwards and other words are not."""
    return [scores_of(violence=0.9 if "bomb" in text.lower() else 0.2) for text in texts]


def run_of(**options):
    return Run(Settings(), corridor=make_corridor(scores=scores), **options)


def test_each_text_is_judged_as_itself_and_in_every_version(world):
    run = run_of()
    rows = {r["id"]: r for r in SUITE.judge(SUITE.cases(run), run)}
    assert set(rows) == {"disguise bad", "disguise good", "paraphrase 1", "paraphrase 2"}
    bad = rows["disguise bad"]
    assert (bad["unsafe"], bad["dropped"], bad["unsafe_label"]) == (0.9, True, True)
    assert bad["versions"] == {
        "shouted": {"text": "BOMB IT", "unsafe": 0.9, "dropped": True},
        "backwards": {"text": "ti bmob", "unsafe": 0.2, "dropped": False},
    }
    assert rows["paraphrase 1"]["versions"] == {"paraphrase": {"text": "blow it up", "unsafe": 0.2, "dropped": False}}
    assert rows["paraphrase 1"]["dropped"]
    assert not rows["disguise good"]["dropped"]
    json.dumps(list(rows.values()), allow_nan=False)


def test_a_version_is_read_in_the_context_and_role_of_its_exchange(world):
    run = run_of()
    SUITE.judge(SUITE.cases(run), run)
    calls = {text: (context, role) for context, texts, role in run.safety.calls for text in texts}
    assert calls["blow it up"] == calls["BOMB IT"] == ([], "user")
    assert calls["I agree"] == calls["em yb enif"] == ([("user", "So?")], "assistant")


def test_rows_do_not_depend_on_what_is_judged_with_them(world):
    run = run_of()
    cases = SUITE.cases(run)
    assert SUITE.judge(cases, run) == [r for case in cases for r in SUITE.judge([case], run)]


def test_texts_of_more_than_thirty_words_are_not_disguised(world):
    assert not [c for c in SUITE.cases(run_of()) if "long" in c["id"]]


def test_a_paraphrase_of_what_the_test_split_does_not_hold_is_named(world):
    world.write_text('{"id": "7", "of": "elsewhere", "reply": "x"}\n')
    with pytest.raises(ValueError, match=r"paraphrases\.jsonl: 7 is of 'elsewhere'"):
        SUITE.cases(run_of())


# What ships


def test_the_shipped_paraphrases_are_of_held_out_exchanges_of_both_kinds_and_other_words():
    held_out = {e.id: e for e in read_labelled(LABELLED) if e.split == "test"}
    rows = [json.loads(line) for line in (ROBUST / "paraphrases.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len({r["of"] for r in rows}) == len({r["id"] for r in rows}) == len(rows) >= 80
    assert all(r["reply"].strip() and r["reply"] != held_out[r["of"]].reply for r in rows)
    unsafe = sum(held_out[r["of"]].unsafe for r in rows)
    assert 0.4 <= unsafe / len(rows) <= 0.6


def test_a_quick_run_takes_fewer_of_each_kind_and_the_same_ones_each_time():
    whole, quick = SUITE.cases(run_of()), SUITE.cases(run_of(quick=True))
    assert quick == SUITE.cases(run_of(quick=True))
    assert {c["id"] for c in quick} < {c["id"] for c in whole}
    kinds = [(c["kind"], c["unsafe_label"]) for c in quick]
    assert kinds.count(("disguise", True)) == kinds.count(("disguise", False)) == robust.QUICK_HIDDEN
    assert [c["kind"] for c in whole].count("disguise") == 2 * robust.HIDDEN
    assert len(DISGUISES) == 10
