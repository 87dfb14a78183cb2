"""The training from files to weights that load again, on a tiny model; what is masked does not teach."""

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classifiers import models
from classifiers.backbone import Backbone
from classifiers.policy import load_policy
from classifiers.quality import Quality, QualityReadout
from classifiers.quality_figures import Scored, human_figures, own_figures, rank_scores, selection_figures
from classifiers.quality_measures import Choice
from classifiers.quality_sets import HumanRated, RatedReply
from classifiers.quality_training import QualityRecipe, fit, together, train_quality
from classifiers.readout import Scorer
from classifiers.safety import Safety

RECIPE = QualityRecipe(members=1, hidden=4, epochs=2, batch=8, dropout=0.0, selections=1)


@contextmanager
def silent(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    yield lambda count: None


def rated(
    i: int, answers: tuple[bool | None, bool | None, bool | None], split: str = "train", kind: str = "rated"
) -> RatedReply:
    return RatedReply(f"r{i}", (("user", "?"),), f"reply {i}", answers, kind, f"g{i}", "own", split)


def rows_of(count: int) -> list[RatedReply]:
    ways = ((True, True, True), (True, True, False), (True, False, None), (False, None, None))
    return [rated(i, ways[i % 4]) for i in range(count)]


def states_of(rows: Sequence[RatedReply]) -> np.ndarray:
    """Three columns that tell the answers, and noise."""
    random = np.random.default_rng(0)
    told = np.array([[1.0 if a else -1.0 for a in row.answers] for row in rows])
    return np.hstack([told, random.normal(size=(len(rows), 3))]).astype(np.float16)


def ranker(rows: Sequence[RatedReply], states: np.ndarray, recipe: QualityRecipe) -> QualityReadout:
    return QualityReadout(fit(states, rows, recipe, 0), "x", "v")


LEARNS = replace(RECIPE, epochs=60, learning_rate=3e-3)


def test_each_answer_is_learned() -> None:
    rows = rows_of(80)
    states = states_of(rows)
    found = ranker(rows, states, LEARNS).probabilities(states)
    for column in range(3):
        yes = np.array([bool(row.answers[column]) for row in rows])
        assert found[yes, column].min() > found[~yes, column].max()


def test_what_is_not_known_does_not_teach() -> None:
    rows = rows_of(80)
    states = states_of(rows)
    unknown = [rated(100 + i, (None, None, None)) for i in range(40)]
    noise = np.random.default_rng(1).normal(size=(40, 6)).astype(np.float16)
    readout = ranker([*rows, *unknown], np.vstack([states, noise]), LEARNS)
    sensible = np.array([bool(row.answers[0]) for row in rows])
    found = readout.probabilities(states)[:, 0]
    assert found[sensible].min() > found[~sensible].max()


def test_a_rated_reply_weighs_more_than_one_made_by_rule() -> None:
    states = np.zeros((40, 6), np.float16)
    said = [rated(i, (True, None, None)) for i in range(20)]
    made = [rated(i, (False, None, None), kind="repeated") for i in range(20)]
    heavy, level = (
        ranker([*said, *made], states, replace(LEARNS, learning_rate=0.03, own_weight=weight)) for weight in (9.0, 1.0)
    )
    assert chance_of(heavy, states, SENSIBLE) == pytest.approx(0.9, abs=0.05)
    assert chance_of(level, states, SENSIBLE) == pytest.approx(0.5, abs=0.05)


def test_a_random_turn_teaches_that_it_does_not_follow_and_nothing_else() -> None:
    states = np.zeros((40, 6), np.float16)
    said = [rated(i, (True, None, None), kind="next") for i in range(20)]
    strangers = [rated(i, (False, None, None), kind="random") for i in range(20)]
    plain, scaled = (
        ranker([*said, *strangers], states, replace(LEARNS, learning_rate=0.03, follows=line))
        for line in ((1.0, 0.0), (0.5, 1.0))
    )
    assert chance_of(plain, states, FOLLOWS) == pytest.approx(0.5, abs=0.05)
    assert chance_of(scaled, states, FOLLOWS) == pytest.approx(1 / (1 + np.exp(-1)), abs=0.03)
    assert chance_of(plain, states, SENSIBLE) > 0.9


FOLLOWS, SENSIBLE = 0, 1


def chance_of(readout: QualityReadout, states: np.ndarray, head: int) -> float:
    return float(1 / (1 + np.exp(-readout.logits(states[:1])[0, head])))


def test_the_same_seed_gives_the_same_readout_and_another_another() -> None:
    rows = rows_of(20)
    states = states_of(rows)
    one, same, other = (QualityReadout(fit(states, rows, RECIPE, s), "", "") for s in (1, 1, 2))
    np.testing.assert_array_equal(one.logits(states), same.logits(states))
    assert (one.logits(states) != other.logits(states)).any()


class Known:
    """Scores that a test gives, by reply."""

    def __init__(self, by_reply: dict[str, tuple[float, float, float]]) -> None:
        self.by_reply = by_reply

    def probabilities(self, exchanges: Any, what: str) -> Any:
        return np.array([self.by_reply[reply] for _, reply, _ in exchanges])

    def likelihoods(self, exchanges: Any, what: str) -> Any:
        return np.zeros(len(exchanges))


def test_figures_on_rated_replies_by_hand() -> None:
    rows = [replace(row, group="g") for row in rows_of(4)]
    known = Known(
        {"reply 0": (0.9, 0.8, 0.7), "reply 1": (0.9, 0.7, 0.1), "reply 2": (0.8, 0.2, 0.2), "reply 3": (0.1, 0, 0)}
    )
    found = own_figures(rows, known)
    assert [found["auroc"][name]["ours"]["value"] for name in ("sensible", "specific", "interesting")] == [1.0] * 3
    assert found["auroc"]["sensible"]["likelihood"]["value"] == 0.5
    pairs = found["specific_over_generic"]
    assert (pairs["ours"]["value"], pairs["ours"]["n"]) == (1.0, 2)
    assert pairs["likelihood"]["value"] == 0.5


def test_figures_of_one_class_only_are_not_defined() -> None:
    found = own_figures([rated(1, (True, True, True))], Known({"reply 1": (0.9, 0.9, 0.9)}))
    assert found["auroc"]["sensible"]["ours"]["value"] is None
    assert found["specific_over_generic"]["ours"]["value"] is None


def test_figures_of_the_choice_among_next_turns_by_hand() -> None:
    known = Known({"a": (0.9, 0.0, 0.0), "b": (0.5, 0.0, 0.0), "c": (0.2, 0.0, 0.0)})
    picks = [Choice((), ("a", "b", "c"), "1", "talk"), Choice((), ("b", "a", "c"), "2", "chat")]
    found = selection_figures(picks, known)
    assert found["all"]["ours"]["hit@1"]["value"] == 0.5
    assert found["all"]["ours"]["mrr"]["value"] == 0.75
    assert found["chat"]["ours"]["mrr"]["value"] == 0.5
    assert found["talk"]["likelihood"]["hit@1"]["value"] == pytest.approx(1 / 3)
    assert selection_figures([], known) == {}


def test_figures_beside_people_by_hand() -> None:
    known = Known({"a": (0.9, 0.5, 0.5), "b": (0.5, 0.5, 0.1), "c": (0.2, 0.1, 0.1)})
    people = [
        HumanRated((("user", reply),), reply, {"Overall": mean}) for reply, mean in (("a", 4.0), ("b", 2.0), ("c", 1.0))
    ]
    found = human_figures(people, known)
    assert set(found) == {"Overall"}
    assert found["Overall"]["ours"]["value"] == pytest.approx(1.0)
    assert found["Overall"]["likelihood"]["value"] is None
    assert human_figures([], known) == {}


def test_rank_scores_are_lamdas() -> None:
    assert rank_scores(np.array([[0.5, 0.25, 0.125]]))[0] == pytest.approx(1.875)


def test_exchanges_of_one_context_are_read_together_and_stay_in_their_places(backbone: Backbone) -> None:
    here, there = (("user", "Tea?"),), (("user", "Ice?"),)
    exchanges = [(here, "Yes.", "assistant"), (there, "No.", "assistant"), (here, "No.", "assistant")]
    found = together(backbone)(exchanges)
    for row, (context, reply, role) in zip(found, exchanges, strict=True):
        alone = backbone.read(context, [reply], role)[0][0].features
        np.testing.assert_allclose(row, alone, atol=0.02)


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    folder = tmp_path / "sets"

    def gzipped(name: str, text: str) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(folder / name, "wt") as file:
            file.write(text)

    talk = {
        f"t{i}": {"content": [{"message": f"I like {i} {n}.", "turn_rating": "Excellent"} for n in range(3)]}
        for i in range(150)
    }
    gzipped("topicalchat/conv_valid_freq.json.gz", json.dumps(talk))
    gzipped("topicalchat/conv_valid_rare.json.gz", "{}")
    gzipped("selfdialogue/self_dialogue.jsonl.gz", json.dumps({"turns": ["a", "b"]}))
    gzipped("hh-harmless/test.jsonl.gz", json.dumps({"chosen": "\n\nHuman: Hm?\n\nAssistant: Yes."}))
    return folder


def test_the_whole_training_writes_weights_that_load_and_a_card(
    tmp_path: Path, sets: Path, backbone: Backbone, scorer: Scorer, monkeypatch: pytest.MonkeyPatch, model: Any
) -> None:
    monkeypatch.setattr(models, "load", lambda name: (model, backbone.tokenizer))
    (sets / "fed").mkdir()
    people = [
        {"context": "User: Hi!", "response": f"System: Reply {i}.", "annotations": {"Overall": [i, i]}}
        for i in range(3)
    ]
    (sets / "fed/half.json").write_text(json.dumps(people))
    labelled, own = tmp_path / "labelled.jsonl", tmp_path / "replies.jsonl"
    labelled.write_text("")
    lines = [
        {"id": f"{i}{n}", "context_id": f"c{i}", "context": [{"role": "user", "content": f"Tea {i}?"}]}
        | {"reply": f"Yes, {n} of {i}.", "sensible": n > 0, "specific": n > 1, "interesting": n > 2}
        for i in range(12)
        for n in range(4)
    ]
    own.write_text("\n".join(map(json.dumps, lines)))
    safety = Safety(backbone, scorer, load_policy())
    output = tmp_path / "out"
    metrics = train_quality(sets, labelled, own, output, 0, silent, RECIPE, safety)
    assert metrics["rows"] == sum(metrics["training_rows"].values()) > 400
    assert metrics["selection"]["all"]["ours"]["mrr"]["n"] == 1
    assert metrics["human"]["Overall"]["ours"]["n"] == 3
    assert metrics == json.loads(json.dumps(metrics, default=list)) or metrics["version"]
    card = (output / "README.md").read_text()
    assert metrics["version"] in card
    assert "none stated" in card
    quality = Quality.load(safety, output)
    (found,) = quality.judge([("user", "Tea?")], ["Yes."])
    assert 0 <= found.interesting <= found.specific <= found.sensible <= 1


def test_missing_sets_are_named_before_anything_is_read(tmp_path: Path, sets: Path) -> None:
    own = tmp_path / "replies.jsonl"
    own.write_text("")
    with pytest.raises(ValueError, match="no rated reply"):
        train_quality(sets, tmp_path, own, tmp_path / "out", 0, silent)
    assert not (tmp_path / "out").exists()


def test_baselines_are_the_chat_models_likelihoods_in_the_order_of_the_exchanges(
    backbone: Backbone, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "load", lambda name: (model, backbone.tokenizer))
    scored = Scored(None, None, backbone, silent)  # type: ignore[arg-type]
    here, there = (("user", "Tea?"),), (("user", "Ice?"),)
    exchanges = [(here, "Yes.", "assistant"), (there, "Oh no.", "assistant"), (here, "Hm.", "assistant")]
    together = scored.likelihoods(exchanges, "x")
    alone = [scored.likelihoods([each], "x")[0] for each in exchanges]
    assert list(together) == pytest.approx(alone, abs=1e-4)
