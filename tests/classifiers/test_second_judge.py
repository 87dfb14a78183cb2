"""The second judge: that it learns from labels and preferences, is kept and verified, and has nothing of the filter in it."""

import csv
import gzip
import json

import numpy as np
import pytest

from classifiers import DamagedWeights
from classifiers.judge_sets import read_comments, read_pools, read_preferences, teaches
from classifiers.judge_training import agreement, best_threshold, train_judge
from classifiers.second_judge import SHIPPED_JUDGE, SecondJudge
from data import POOLS

SAFE = "Please drink some tea and rest."
UNSAFE = "Take the knife and stab him."


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Every source of the judge in its own format, a few rows long; its pools beside them."""
    folder = tmp_path_factory.mktemp("sets")
    for name in ("hh-harmless", "context-toxicity", "safetext", "diasafety"):
        (folder / name).mkdir()
    with gzip.open(folder / "hh-harmless/test.jsonl.gz", "wt") as file:
        for i in range(4):
            asked = f"\n\nHuman: Hello {i}\n\nAssistant: "
            print(
                json.dumps({"chosen": asked + "Some lovely cake", "rejected": asked + "Some horrid poison"}), file=file
            )
        print(
            json.dumps({"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: b"}),
            file=file,
        )
        print(json.dumps({"chosen": "\n\nHuman: a", "rejected": "\n\nHuman: a\n\nAssistant: b"}), file=file)
    for name in ("gc", "gn"):
        with gzip.open(folder / f"context-toxicity/{name}.csv.gz", "wt", newline="") as file:
            csv.writer(file).writerows([["text", "parent", "label", "api"], ["seen by the filter", "", "0", "0"]])
    with (folder / "context-toxicity/cat_small.csv").open("w", newline="") as file:
        rows = [["a kind word", "p", "", "0", "", "0"], ["you moron", "p", "", "1", "", "1"]]
        rows += [["seen by the filter ", "p", "", "0", "", "0"]]
        csv.writer(file).writerows([["text", "parent_text", "tox_codes_oc", "label_oc", "c", "label_ic"], *rows])
    (folder / "safetext/SafeText.json").write_text(json.dumps({"If ill": {"safe": [SAFE], "unsafe": [UNSAFE]}}))
    row = {"context": "c", "response": UNSAFE, "label": "Unsafe", "category": "Risk Ignorance"}
    for name in ("train", "val"):
        (folder / f"diasafety/{name}.json").write_text(json.dumps([row, {**row, "response": SAFE, "label": "Safe"}]))
    pools = [
        {
            "id": f"p{i}",
            "candidates": [{"text": f"{SAFE} {i}", "unsafe": False}, {"text": f"{UNSAFE} {i}", "unsafe": True}],
        }
        for i in range(40)
    ]
    (folder / "pools.jsonl").write_text("\n".join(map(json.dumps, pools)))
    return folder


@pytest.fixture(scope="module")
def trained(sets, tmp_path_factory):
    output = tmp_path_factory.mktemp("judge")
    fits = []
    return output, train_judge(sets, sets / "pools.jsonl", output, advance=fits.append), fits


def test_it_tells_what_it_learned_from_labels_and_from_preferences(trained):
    judge = SecondJudge.load(trained[0])
    safe, unsafe, cake, poison = judge.probabilities([SAFE, UNSAFE, "lovely cake", "horrid poison"])
    assert safe < judge.threshold <= unsafe
    assert cake < poison


def test_the_half_that_measures_it_is_the_one_that_taught_it_nothing(trained, sets):
    _, metrics, fits = trained
    measured = [row for row in read_pools(sets / "pools.jsonl") if not teaches(row.group)]
    found = metrics["agreement"]["pools, the half that taught nothing"]
    assert metrics["rows"] == {"pools": 80 - len(measured), "preferences": 4, "comments": 2}
    assert found["accuracy"]["n"] == len(measured) > 0
    assert found["accuracy"]["value"] == found["kappa"]["value"] == found["auroc"]["value"] == 1
    assert found["majority"]["value"] == 0.5
    assert fits == [1] * 6


def test_its_card_shows_the_figures(trained):
    card = (trained[0] / "README.md").read_text()
    assert "| pools, the half that taught nothing |" in card
    assert "| safetext | 2 | 50.0% |" in card
    assert "{" not in card


def test_damaged_weights_are_noticed(trained, tmp_path):
    for path in trained[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "weights.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(DamagedWeights, match=r"weights\.safetensors"):
        SecondJudge.load(tmp_path)


def test_pools_of_which_one_half_lacks_a_class_cannot_train_it(sets, tmp_path):
    rows = [json.loads(line) for line in (sets / "pools.jsonl").read_text().splitlines()]
    for row in rows:
        if teaches(row["id"]):
            row["candidates"] = row["candidates"][:1]
    (tmp_path / "pools.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ValueError, match=r"pools\.jsonl: each half"):
        train_judge(sets, tmp_path / "pools.jsonl", tmp_path / "out")


def test_the_same_rows_give_the_same_weights(trained, sets, tmp_path):
    train_judge(sets, sets / "pools.jsonl", tmp_path)
    assert (tmp_path / "weights.safetensors").read_bytes() == (trained[0] / "weights.safetensors").read_bytes()
    assert (tmp_path / "metrics.json").read_text() == (trained[0] / "metrics.json").read_text()


def test_preferences_end_in_two_different_replies(sets):
    found = list(read_preferences(sets / "hh-harmless"))
    assert len(found) == 4
    assert (found[0].chosen, found[0].rejected) == ("Some lovely cake", "Some horrid poison")


def test_comments_that_stand_in_the_files_of_the_filter_are_left_out(sets):
    assert [(c.reply, c.unsafe) for c in read_comments(sets / "context-toxicity")] == [
        ("a kind word", False),
        ("you moron", True),
    ]


def test_a_line_that_is_no_pool_is_named(tmp_path):
    (tmp_path / "pools.jsonl").write_text('{"id": "a", "candidates": []}\n{"id": "b"}')
    with pytest.raises(ValueError, match=r"pools\.jsonl:2 is not a pool"):
        read_pools(tmp_path / "pools.jsonl")


def test_the_threshold_is_where_the_labels_agree_best_and_the_lowest_of_equals():
    unsafe = np.array([False, False, True, True])
    assert best_threshold(unsafe, np.array([0.1, 0.2, 0.3, 0.4])) == 0.3
    assert best_threshold(unsafe, np.array([0.1, 0.3, 0.2, 0.4])) in (0.2, 0.4)


def test_no_replies_have_no_probabilities():
    assert SecondJudge.load().probabilities([]) == []


def test_the_shipped_judge_is_small_and_agrees_with_people_as_its_card_says():
    judge = SecondJudge.load()
    assert sum(path.stat().st_size for path in SHIPPED_JUDGE.iterdir()) <= 3 * 2**20
    unseen = [row for row in read_pools(POOLS / "pools.jsonl") if not teaches(row.group)]
    found = agreement(judge, unseen)
    stated = judge.metrics["agreement"]["pools, the half that taught nothing"]
    for name in ("accuracy", "majority", "kappa", "auroc"):
        assert found[name]["value"] == pytest.approx(stated[name]["value"], abs=1e-3)
    assert found["accuracy"]["value"] > found["majority"]["value"]
