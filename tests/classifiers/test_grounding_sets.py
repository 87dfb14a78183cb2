"""Labelled claims: what is read, what is refused, how a source's labels map onto ours, and claims made by rule."""

import json
from pathlib import Path
from typing import Any

import pytest

from classifiers.grounding_sets import (
    GROUNDING_SETS,
    LabelledClaim,
    made_by_rule,
    read_grounding_sets,
    read_own_pairs,
    tidy,
)
from classifiers.labelled import BadExample
from data import GROUNDING

ROW = {
    "id": "a1",
    "pair": "a",
    "passage_id": "p",
    "passage": "Nairobi is the capital of Kenya.",
    "before": "What is it?",
    "claim": "It is Nairobi.",
    "label": "supported",
}


def write(folder: Path, *rows: Any) -> Path:
    (folder / "pairs.jsonl").write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return folder


def test_a_line_is_a_claim_with_its_passage_and_label(tmp_path: Path) -> None:
    (claim,) = read_own_pairs(write(tmp_path, ROW))
    assert (claim.passage, claim.before, claim.claim) == (ROW["passage"], ROW["before"], ROW["claim"])
    assert (claim.supported, claim.contradicted, claim.pair, claim.source) == (True, False, "a", "pairs")


def test_a_denied_claim_is_told_from_one_that_is_not_told(tmp_path: Path) -> None:
    denied, lacking = read_own_pairs(
        write(tmp_path, {**ROW, "label": "contradicted"}, {**ROW, "id": "a2", "label": "not_enough"})
    )
    assert (denied.supported, denied.contradicted) == (False, True)
    assert (lacking.supported, lacking.contradicted) == (False, False)


def test_claims_on_one_passage_stay_in_one_split(tmp_path: Path) -> None:
    rows = [{**ROW, "id": f"{p}-{i}", "pair": f"{p}-{i}", "passage_id": f"p{p}"} for p in range(40) for i in range(3)]
    claims = read_own_pairs(write(tmp_path, *rows))
    splits = {group: {c.split for c in claims if c.group == group} for group in {c.group for c in claims}}
    assert all(len(found) == 1 for found in splits.values())
    assert set.union(*splits.values()) == {"train", "calibration", "validation", "test"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "not JSON"),
        ("[]", "JSON object"),
        (json.dumps({**ROW, "claim": " "}), "'claim'"),
        (json.dumps({**ROW, "passage": 3}), "'passage'"),
        (json.dumps({**ROW, "label": "true"}), "supported, contradicted, not_enough"),
        (json.dumps(ROW), "already used"),
    ],
)
def test_a_bad_line_is_named_with_its_file_line_and_field(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(BadExample, match=rf"pairs\.jsonl:2: .*{said}"):
        read_own_pairs(write(tmp_path, ROW, line))


def test_an_empty_folder_and_missing_sets_are_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no"):
        read_own_pairs(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"fm2 \(from google-research/fool-me-twice\)"):
        read_grounding_sets(tmp_path)


def test_every_public_set_is_read_with_its_labels(public_claims: Path) -> None:
    claims = read_grounding_sets(public_claims)
    by = {one.name: [c for c in claims if c.source == one.name] for one in GROUNDING_SETS}
    assert sorted((c.supported, c.contradicted) for c in by["begin-wow"]) == [(False, None)] * 2 + [(True, None)]
    assert {c.claim for c in by["begin-wow"]} == {"It is white."}
    assert {c.id: c.supported for c in by["faithdial-audit"]} == {
        "faithdial-audit:gold_a:0": True,
        "faithdial-audit:gold_b:0": False,
        "faithdial-audit:gold_c:0": True,
    }
    assert {c.passage for c in by["fm2"]} == {"Gold.", "Beside. Gold."}
    assert {(c.supported, c.contradicted) for c in by["fm2"]} == {(True, False), (False, True)}
    assert len(by["conjnli"]) == 6
    assert {(c.supported, c.contradicted) for c in by["conjnli"]} == {(True, False), (False, False), (False, True)}
    assert len({c.group for c in by["fever-symmetric"]}) == 1  # the same words crosswise
    assert {(c.claim, c.supported) for c in by["halueval-qa"]} == {("R", True), ("H", False)}
    squad = {(c.before, c.claim, c.supported) for c in by["squad2"]}
    assert ("Q0?", "A0", True) in squad
    assert all(claim != f"A{before[1]}" for before, claim, supported in squad if not supported)


def test_spaces_that_a_tokeniser_left_are_taken_out() -> None:
    assert tidy("It 's  a ( small ) test , is n't it ?") == "It's a (small) test, isn't it?"


def claims_on(texts: list[str]) -> list[LabelledClaim]:
    return [
        LabelledClaim(f"{i}", text, "", f"Claim {i} is so.", True, False, f"g{i}", "own", "train", pair=f"{i}")
        for i, text in enumerate(texts)
    ]


PASSAGES = [
    f"The river {name} rises in the hills near Alton and runs for {length} kilometres. It was dammed by the Romans at Corby. "
    f"Many boats have sailed on the river {name} since then, and some were lost in it."
    for name, length in (("Ash", 40), ("Birch", 61), ("Cedar", 12), ("Dogwood", 7))
]


def test_claims_made_by_rule_are_marked_and_true_ones_stand_in_the_passage() -> None:
    found = made_by_rule(claims_on(PASSAGES), 100)
    assert {c.synthetic for c in found} == {True}
    assert {c.split for c in found} == {"train"}
    assert {c.source for c in found} == {"made by rule"}
    for claim in found:
        if claim.supported and ", and " not in claim.claim:
            assert claim.claim in claim.passage
        if claim.contradicted:
            assert claim.claim not in claim.passage
    assert {(c.supported, c.contradicted) for c in found} == {(True, False), (False, True), (False, False)}


def test_the_same_seed_makes_the_same_claims_and_no_more_than_asked() -> None:
    claims = claims_on(PASSAGES)
    assert made_by_rule(claims, 5, 1) == made_by_rule(claims, 5, 1) != made_by_rule(claims, 5, 2)
    assert len(made_by_rule(claims, 5)) == 5
    held_out = [LabelledClaim(**{**vars(c), "split": "test"}) for c in claims]
    assert made_by_rule(held_out, 5) == []


def test_our_own_pairs_are_pairs_of_one_supported_and_one_other_claim_on_one_passage() -> None:
    claims = read_own_pairs(GROUNDING / "pairs")
    pairs: dict[str, list[LabelledClaim]] = {}
    for claim in claims:
        pairs.setdefault(f"{claim.source}/{claim.pair}", []).append(claim)
    assert len(pairs) >= 2000
    for pair in pairs.values():
        assert sorted(claim.supported for claim in pair) == [False, True]
        assert len({(claim.passage, claim.split) for claim in pair}) == 1
